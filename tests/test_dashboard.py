"""The pages: pictures as the model saw them, data as it is, and markup that does nothing."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from saev.artifacts import dashboard as names
from saev.artifacts.activations import Activations
from saev.artifacts.images import Images
from saev.dashboard.build import page
from saev.dashboard.data import column, embedded, rounded, script
from saev.dashboard.pictures import make_pictures, thumbnail
from saev.errors import UserError

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


def test_data_comes_back_as_it_was_and_can_not_end_its_script():
    value = {"label": "</script><!-- & \u2028 \u2029", "n": [1, 2.5, None]}
    text = script("saev.block", value).decode()
    body = re.fullmatch(r"saev\.block\((.*)\);\n", text)[1]
    assert json.loads(body) == value
    assert not re.search("[<>&\u2028\u2029]", body)


def test_a_number_that_is_not_finite_is_refused_or_missing_never_written():
    with pytest.raises(ValueError, match="JSON"):
        embedded({"x": float("inf")})
    assert column([1.0, float("nan"), None, 3]) == [1, None, None, 3]


def test_figures_keep_four_digits():
    assert [rounded(x) for x in (0.000123456, 12345.6, 0.0, None)] == [0.0001235, 12350, 0, None]


def test_a_template_is_filled_once_even_if_the_data_names_its_slots():
    text = page("gallery", {"runs": ["/*STYLE*/ /*SCRIPT*/ /*DATA*/"]}).decode()
    assert text.count("/*DATA*/") == 1
    assert "gallery({" in text


def test_a_thumbnail_is_the_crop_of_the_picture():
    picture = Image.new("RGB", (300, 200), "red")
    picture.paste("blue", (50, 0, 250, 200))
    small = thumbnail(picture, (50.0, 0.0, 250.0, 200.0))
    assert small.size == (160, 160)
    assert np.asarray(small).reshape(-1, 3).min(axis=0).tolist() == [0, 0, 255]
    assert np.asarray(small).reshape(-1, 3).max(axis=0).tolist() == [0, 0, 255]


def only(paths):
    (path,) = paths
    return path


@pytest.fixture
def copy(built, tmp_path):
    """The dashboards of a built project, with what they were made from."""
    folder = tmp_path / "project"
    subprocess.run(["cp", "-a", built.folder, folder], check=True)
    vit = only((folder / "results").glob("pets-*/tiny-*"))
    return folder, vit


def blocks(dashboard):
    text = (dashboard / names.block(0)).read_text()
    return json.loads(re.fullmatch(r"saev\.block\((.*)\);\n", text)[1])


@pytest.mark.slow
def test_the_page_shows_the_top_images_of_the_analysis(copy):
    from safetensors.numpy import load_file

    _, vit = copy
    for dashboard in vit.glob("*/named-*/dashboard"):
        latents = load_file(dashboard.parent / "latents.safetensors")
        block = blocks(dashboard)
        assert block["rows"] == latents["top_rows"].tolist()
        shown = latents["top_rows"][latents["top_rows"] >= 0]
        assert {int(row) for row in block["images"]} == set(shown.tolist())
        for row, (key, animal, _site) in block["images"].items():
            assert key.startswith(f"{animal}/"), row
            assert (dashboard / names.picture(int(row))).exists()


@pytest.mark.slow
def test_heat_maps_are_largest_at_the_recorded_patch(copy):
    import base64

    _, vit = copy
    dashboard = only(vit.glob("patches-*/named-*/dashboard"))
    block = blocks(dashboard)
    checked = 0
    for latent, encoded in enumerate(block["heat"]):
        heat = np.frombuffer(base64.b64decode(encoded), np.uint8).reshape(9, 16)
        for slot, (row, patch) in enumerate(
            zip(block["rows"][latent], block["patches"][latent], strict=True)
        ):
            if row < 0:
                assert not heat[slot].any()
                continue
            assert heat[slot, patch] == heat[slot].max() > 0
            checked += 1
        if block["rows"][latent][0] >= 0:
            assert heat[0].max() == 255
    assert checked > 20


@pytest.mark.slow
def test_a_picture_that_has_changed_or_vanished_is_refused_by_name(copy, tmp_path, monkeypatch):
    folder, vit = copy
    monkeypatch.chdir(folder)
    images, activations = Images(vit.parent), Activations(vit)
    rows = np.array([0, 1, 2])
    keys = [entry.key for entry in images.read(0, 3)]
    (folder / "pictures" / keys[0]).unlink()
    Image.new("RGB", (44, 36)).save(folder / "pictures" / keys[2])
    with pytest.raises(UserError) as caught:
        make_pictures(tmp_path / "out", images, activations, rows, 2)
    assert keys[0] in str(caught.value)
    assert f"{keys[2]}: has changed" in str(caught.value)
    assert keys[1] not in str(caught.value)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
def test_markup_in_labels_and_names_is_shown_as_text_in_a_browser(copy, tmp_path):
    _, vit = copy
    dashboard = only(vit.glob("cls-*/named-*/dashboard"))
    evil = "<img src=x onerror=\"document.title='broken'\">"
    for name in ("data/latents.js", names.block(0)):
        path = dashboard / name
        safe = json.dumps(evil)[1:-1].replace("<", "\\u003c").replace(">", "\\u003e")
        path.write_text(path.read_text().replace('"cat"', f'"{safe}"'))
    address = f"{(dashboard / names.PAGE).as_uri()}#min=0"
    command = ["chromium", *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--timeout=6000"]
    done = subprocess.run(
        [*command, "--dump-dom", address], capture_output=True, text=True, check=True
    )
    assert "data-painted" in done.stdout, done.stdout[-500:]
    assert "&lt;img src=x" in done.stdout
    assert "<img src=x" not in done.stdout.replace('"', "").split("<script>")[0]
    assert "<title>broken" not in done.stdout
