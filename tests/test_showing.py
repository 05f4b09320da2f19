"""What a notebook shows: overlays as the page draws them, and cards of runs and their parts."""

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from analysed import Case, cycling, vectors, write_images
from PIL import Image
from project import ROOT

import saev
from saev.activations.artifact import Activations
from saev.analyze.kept_codes import KeptCodes
from saev.api import overlay
from saev.api.overlay import coloured, draw
from saev.core import shown
from saev.core.errors import UserError
from saev.dashboard import artifact as names
from saev.dashboard.fired import Reading
from saev.dashboard.heatmaps import make_heatmaps
from saev.dashboard.thumbnails import QUALITY, SIDE, thumbnail

ASSETS = ROOT / "saev/dashboard/assets"
HEAT = np.array([[0, 64], [255, 1]], np.uint8)
BAD = "<script>alert('x')</script> & \"y\""


class Read(HTMLParser):
    """The tags and the text of a document; refuses tags that don't close."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text, self.sources = [], set(), "", []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.sources += [value for name, value in attributes if name == "src"]
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_an_overlay_has_the_colours_of_the_page():
    script = (ASSETS / "images.js").read_text()
    ramp = re.search(r"const ramp = (\[.*?\n\]);", script, re.S)[1]
    assert json.loads(re.sub(r",\s*\]", "]", ramp)) == [list(c) for c in overlay.RAMP]
    assert f": {list(overlay.GRAY)};" in script
    assert f"strength: {round(100 * overlay.STRENGTH)}," in (ASSETS / "state.js").read_text()
    for style in ("spotlight", "heat map"):
        assert f'"{style}"]' in script


def test_an_overlay_is_what_the_page_draws_by_hand():
    white = Image.new("RGB", (20, 10), "white")
    spot = np.asarray(draw(white, HEAT, "spotlight")).astype(int)
    assert spot.shape == (10, 20, 3)
    # Where it doesn't fire: 70 % of the gray; where it is largest: the image.
    assert np.abs(spot[0, 0] - (0.3 * 255 + 0.7 * np.array([52, 58, 72]))).max() <= 1
    assert spot[9, 0].tolist() == [255, 255, 255]
    part = 0.7 * (1 - np.sqrt(64 / 255))
    assert np.abs(spot[0, 19] - ((1 - part) * 255 + part * np.array([52, 58, 72]))).max() <= 1.5
    # Patches have sharp edges.
    assert (spot[:5, :10] == spot[0, 0]).all()
    assert (spot[5:, :10] == spot[9, 0]).all()
    heat = np.asarray(draw(white, HEAT, "heat map")).astype(int)
    assert np.abs(heat[9, 0] - (0.3 * 255 + 0.7 * np.array([252, 255, 164]))).max() <= 1
    assert np.abs(heat[0, 0] - (0.3 * 255 + 0.7 * np.array([0, 0, 4]))).max() <= 1
    assert np.asarray(coloured(HEAT))[1, 0].tolist() == [252, 255, 164]


def of_patches(project):
    (path,) = project.folder.glob("results/pets-*/tiny-*/patches-*/named-*")
    return saev.open_run(path)


@pytest.mark.slow
def test_an_overlay_of_a_recorded_image_is_what_the_page_of_the_run_shows(built, tmp_path):
    run = of_patches(built)
    explorer = saev.Explorer(run)
    latents = run._analysis.latents()
    top = latents["top_rows"]
    activations = Activations(run.path.parent.parent)
    peak = latents["top_values"][:, 0]
    stream = activations.streams[str(run.sae.stream)]
    kept = KeptCodes(run._analysis, activations, stream)
    source = Reading(run.sae, activations, stream, kept)
    heat = make_heatmaps(tmp_path / "heat.npy", source, top, peak)
    checked = 0
    for latent in range(0, run.summary["n_latents"], 7):
        for slot in range(0, 9, 4):
            row = int(top[latent, slot])
            if row < 0:
                continue
            image = run.image(row)
            found = explorer.encode_images([image])[0]
            assert np.array_equal(found._heat(latent).ravel(), heat[latent, slot])
            # What lies below is the page's image, byte for byte.
            below = thumbnail(image, explorer.tower.geometry.crop(*image.size))
            kept = io.BytesIO()
            below.save(kept, "JPEG", quality=QUALITY, optimize=True)
            assert kept.getvalue() == (run.path / "dashboard" / names.thumbnail(row)).read_bytes()
            for style in ("spotlight", "heat map"):
                drawn = found.overlay(image, latent, style, SIDE)
                assert drawn == draw(below, found._heat(latent), style)
            checked += 1
    assert checked > 10


@pytest.mark.slow
def test_an_overlay_refuses_what_it_cannot_draw(built):
    run = of_patches(built)
    image = run.image(0)
    found = saev.Explorer(run).encode_images([image])[0]
    assert max(found.overlay(image, int(found.latents[0])).size) == 320
    for arguments, why in [
        ((image, 10**6), "there is no latent 1000000"),
        ((image, 0, "colour"), "style: 'colour'; allowed: spotlight, heat map"),
        (("a.png", 0), "the image is a str, not an image of Pillow"),
    ]:
        with pytest.raises(UserError, match=why):
            found.overlay(*arguments)
    longest = replace(found._lens.geometry, resize_mode="longest")
    narrow = replace(found, _lens=found._lens._replace(geometry=longest))
    with pytest.raises(UserError, match="the image is too narrow: 1 × 9000 pixels"):
        narrow.overlay(Image.new("RGB", (1, 9000)), 0)
    # Without a run, the largest value is that of the image.
    alone = saev.Explorer(run.path.parent).encode_images([image])[0]
    assert alone._heat(int(alone.latents[0])).max() == 255
    whole = saev.Explorer(next(run.path.parent.parent.glob("cls-*"))).encode_images([image])[0]
    with pytest.raises(UserError, match="there is no map"):
        whole.overlay(image, 0)
    for one in (found, whole):
        card = Read(one._repr_html_())
        assert f"{len(one.latents)} of 48 latents fire" in card.text
        assert f"latent {one.latents[0]} ({shown.number(float(one.values[0]))})" in card.text
        assert len(card.sources) == (0 if one.grid is None else min(6, len(one.latents)))
        assert repr(one).startswith(f"<found {len(one.latents)} of 48 latents fire: latent ")
        assert len(repr(one)) < 300


@pytest.mark.slow
def test_a_run_shows_its_figures_and_a_few_latents_with_their_images(built):
    run = of_patches(built)
    card = Read(run._repr_html_())
    assert "run pets/tiny/patches/named" in card.text
    for figure in ("images 300", "latents 48", "labels animal, site"):
        assert figure in card.text
    assert 4 <= len(card.sources) <= 16
    first = base64.b64decode(card.sources[0].partition(",")[2])
    assert Image.open(io.BytesIO(first)).format == "JPEG"
    assert repr(run).startswith("<run pets/tiny/patches/named: images 300, latents 48, dead ")
    assert str(run.path) in repr(run)
    explorer = saev.Explorer(run)
    for one in (explorer, run.sae):
        assert "topk" in repr(one)
        assert "layer-01.patches" in Read(one._repr_html_()).text


def test_cards_hold_texts_and_not_what_they_would_mean_in_html():
    tile = shown.Tile(BAD, [f"data:image/png;base64,{BAD}"])
    card = Read(shown.card(BAD, BAD, {BAD: BAD, "none": None, "n": 1234567}, [tile], BAD))
    assert card.tags == {"div", "span", "b", "img"}
    assert card.text.count(BAD) == 6
    assert "1,234,567" in card.text
    assert "none" not in card.text


def test_a_run_with_labels_and_folders_of_any_name_is_shown_as_text(tmp_path):
    folder = tmp_path / "<i>images"
    case = Case(folder, vectors(300), {"<b>": cycling(300, "<script>", "&")})
    case.analyse()
    write_images(folder, [f"{i}.png" for i in range(300)])
    (case.out / "dashboard").mkdir()
    card = Read(saev.open_run(case.out)._repr_html_())
    assert card.tags == {"div", "span", "b"}
    assert "<i>images" in card.text
    assert "<b>" in card.text
    assert "<topk" not in repr(saev.load(case.sae))
    assert repr(saev.load(case.sae)).startswith(
        "<dictionary topk: latents 24, width 10, of layer-01"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234, "1,234"), (0.00012345, "0.000123"), (float("nan"), "–"), ("a", "a"), (True, "True")],
)
def test_figures_are_short(value, text):
    assert shown.number(value) == text
