"""The pages: images as the model saw them, data as it is, and markup that does nothing."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from browser import CHROMIUM, Browser
from hypothesis import given
from hypothesis import strategies as st
from page_data import column, latents_of
from PIL import Image

from saev.activations.artifact import Activations
from saev.analyze.artifact import TABLE
from saev.core.errors import UserError
from saev.core.meta import META
from saev.dashboard import artifact as names
from saev.dashboard import thumbnails
from saev.dashboard.data import exact
from saev.dashboard.page import page
from saev.dashboard.scripts import embedded, packed, rounded, script, unpacked
from saev.dashboard.thumbnails import make_thumbnails, thumbnail
from saev.images.artifact import Images
from saev.images.decode import open_rgb
from saev.images.geometry import Geometry


def assigned(text):
    """The JSON of a block of data: one document behind one assignment."""
    return re.fullmatch(r'saevData\["[^"]*"\]=(.*);\n', text)[1]


def test_data_comes_back_as_it_was_and_can_not_end_its_script():
    value = {"label": "</script><!-- & \u2028 \u2029", "n": [1, 2.5, None]}
    body = assigned(script("block 0", value).decode())
    assert json.loads(body) == value
    assert not re.search("[<>&\u2028\u2029]", body)


def test_a_number_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="JSON"):
        embedded({"x": float("inf")})


def test_columns_keep_all_digits_in_as_few_bytes_as_hold_them():
    nan = float("nan")
    for kind, values in {
        "int8": [0, 127, -128],
        "int16": [0, 128, -32768],
        "int32": [0, 32768, 2**31 - 1],
        "float32": [0.5, nan, 2.0**24, 2.0**127],
        "float64": [0.1, nan, 1 / 3, 1e300],
    }.items():
        packed = exact(np.array(values))
        assert packed["type"] == kind
        np.testing.assert_array_equal(column(packed), values)
    for large, kind in {2**24 + 1: "int32", 2**31: "float32", 2**40 + 1: "float64"}.items():
        packed = exact(np.array([large]))
        assert (packed["type"], column(packed)[0]) == (kind, large)
    rng = np.random.default_rng(0)
    listed = rng.choice([0.1, nan, 1 / 3, 1 / 7], 99)
    packed = exact(listed)
    assert packed["places"]["type"] == "int8"
    np.testing.assert_array_equal(column(packed), listed)
    assert "places" not in exact(rng.random(99))


def test_other_figures_keep_four_digits():
    assert [rounded(x) for x in (0.000123456, 12345.6, 0.0, None)] == [0.0001235, 12350, 0, None]


def test_a_template_is_filled_once_even_if_the_data_names_its_slots():
    text = page("gallery", {"runs": ["/*STYLE*/ /*SCRIPT*/ /*DATA*/"]}).decode()
    assert text.count("/*DATA*/") == 1
    assert "gallery({" in text


def test_a_thumbnail_is_the_crop_of_the_image():
    image = Image.new("RGB", (300, 200), "red")
    image.paste("blue", (50, 0, 250, 200))
    small = thumbnail(image, (50.0, 0.0, 250.0, 200.0))
    assert small.size == (160, 160)
    assert np.asarray(small).reshape(-1, 3).min(axis=0).tolist() == [0, 0, 255]
    assert np.asarray(small).reshape(-1, 3).max(axis=0).tolist() == [0, 0, 255]


def test_a_thumbnail_of_a_turned_image_is_the_part_that_the_model_saw(tmp_path):
    # Stored lying on its side, 200 × 300; EXIF says to turn it by a quarter: a person sees 300 ×
    # 200.
    seen = Image.new("RGB", (300, 200), "red")
    seen.paste("blue", (50, 0, 250, 200))
    seen.paste("lime", (50, 0, 150, 100))  # the upper left quarter of the square in the middle
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.png"
    seen.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    geometry = Geometry(32, "shortest", 32, "bicubic", (0, 0, 0), (1, 1, 1), 16, (2, 2))
    image = open_rgb(path)
    small = np.asarray(thumbnail(image, geometry.crop(*image.size)))
    assert small.shape == (160, 160, 3)
    assert (small[4:72, 4:72] == [0, 255, 0]).all()
    assert (small[4:-4, 88:] == [0, 0, 255]).all()
    assert (small[88:] == [0, 0, 255]).all()
    model = geometry.pixels(image)
    assert model[4, 4].tolist() == [0, 255, 0]
    assert model[28, 28].tolist() == [0, 0, 255]


def test_an_image_that_is_padded_keeps_its_shape_within_the_square():
    geometry = Geometry(32, "longest", 32, "bicubic", (0, 0, 0), (1, 1, 1), 16, (2, 2))
    image = Image.new("RGB", (100, 50), "white")
    small = np.asarray(thumbnail(image, geometry.crop(*image.size)))
    assert small.shape == (160, 160, 3)
    assert (small[80] == 255).all()
    assert (small[:30] == 0).all()
    assert (small[-30:] == 0).all()


@given(st.lists(st.one_of(st.just(0), st.integers(0, 255)), max_size=40), st.integers(0, 1100))
def test_packed_bytes_come_back(values, zeros):
    whole = np.array([*values, *[0] * zeros, *values[::-1]], np.uint8)
    assert (unpacked(packed(whole), len(whole)) == whole).all()


def test_images_and_heat_maps_lie_in_folders_of_hundreds_at_most():
    by_folder = {}
    for row in range(0, 300_000, 7):
        for parts in (names.thumbnail(row, large).split("/") for large in (False, True)):
            for depth in range(1, len(parts)):
                by_folder.setdefault("/".join(parts[:depth]), set()).add(parts[depth])
    assert max(map(len, by_folder.values())) <= 256
    assert names.heat_latents(16 * 196) == 256
    assert names.heat_latents(16 * 1369) * 16 * 1369 <= names.HEAT_BYTES


SIDES = (("left", "right"), ("top", "bottom"))


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


def run_stage(folder, vit, dashboard):
    """Make a dashboard again by the stage's command; return what it printed, and its exit
    status."""
    analysis = dashboard.parent
    arguments = ["--analysis", analysis, "--activations", vit, "--sae", analysis.parent]
    arguments += ["--images", vit.parent, "--out", dashboard, "--threads", "2"]
    spec = ["--spec", '{"settings": {"credit": "drawn by the tests"}, "code": "tests"}']
    command = [sys.executable, "-m", "saev.dashboard", "run", *map(str, arguments), *spec]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.slow
def test_the_page_shows_the_top_images_of_the_analysis(copy):
    from safetensors.numpy import load_file

    _, vit = copy
    for dashboard in vit.glob("*/named-*/dashboard"):
        latents = load_file(dashboard.parent / "latents.safetensors")
        block = latents_of(dashboard)
        assert [rows[:9] for rows in block["rows"]] == latents["top_rows"].tolist()
        shown = np.array(block["rows"])
        assert {int(row) for row in block["images"]} == set(shown[shown >= 0].tolist())
        for row, (key, animal, _site) in block["images"].items():
            assert key.startswith(f"{block['texts'][animal]}/"), row
            assert (dashboard / names.thumbnail(int(row))).exists()
            assert (dashboard / names.thumbnail(int(row), large=True)).exists()


@pytest.mark.slow
def test_heat_maps_are_largest_at_the_recorded_patch(copy):
    _, vit = copy
    dashboard = only(vit.glob("patches-*/named-*/dashboard"))
    block = latents_of(dashboard)
    checked = 0
    for latent, text in enumerate(latents_of(dashboard, names.heat)):
        heat = unpacked(text, 57 * 16).reshape(57, 16)
        for slot, (row, patch) in enumerate(
            zip(block["rows"][latent], block["patches"][latent], strict=True)
        ):
            if row < 0 or patch < 0:  # there is no image, or the latent is silent on it
                assert not heat[slot].any()
                continue
            assert heat[slot, patch] == heat[slot].max() > 0
            checked += 1
        if block["rows"][latent][0] >= 0:
            assert heat[0].max() == 255
    assert checked > 20


@pytest.mark.slow
def test_a_large_image_has_the_pixels_of_the_crop_up_to_a_limit(copy, tmp_path, monkeypatch):
    folder, vit = copy
    monkeypatch.chdir(folder)
    images, activations = Images(vit.parent), Activations(vit)
    entries = images.entries([0, 1])
    record = next(iter(activations.take_records(np.array([0]))))
    crop = max(record[f"crop_{b}"] - record[f"crop_{a}"] for a, b in SIDES)
    for small, limit, side in ((10, 2000, round(crop)), (10, 30, 30), (160, 2000, 160)):
        out = tmp_path / f"{small} {limit}"
        monkeypatch.setattr(thumbnails, "SIDE", small)
        monkeypatch.setattr(thumbnails, "LARGE", limit)
        make_thumbnails(out, images, activations, entries, 2, True)
        with Image.open(out / names.thumbnail(0, large=True)) as image:
            assert max(image.size) == side
    make_thumbnails(tmp_path / "many", images, activations, entries, 2, False)
    assert not list((tmp_path / "many").rglob("large"))
    assert len(list((tmp_path / "many").rglob("*.jpg"))) == 2


@pytest.mark.slow
def test_an_image_that_has_changed_or_vanished_is_refused_by_name(copy, tmp_path, monkeypatch):
    folder, vit = copy
    monkeypatch.chdir(folder)
    images, activations = Images(vit.parent), Activations(vit)
    rows = np.array([0, 1, 2])
    keys = [entry.key for entry in images.read(0, 3)]
    (folder / "pictures" / keys[0]).unlink()
    Image.new("RGB", (44, 36)).save(folder / "pictures" / keys[2])
    with pytest.raises(UserError) as caught:
        make_thumbnails(
            tmp_path / "out", images, activations, images.entries(rows.tolist()), 2, True
        )
    assert keys[0] in str(caught.value)
    assert f"{keys[2]}: has changed" in str(caught.value)
    assert keys[1] not in str(caught.value)


@pytest.mark.slow
def test_a_latent_on_fewer_images_than_places_leaves_them_empty(copy):
    _, vit = copy
    block = latents_of(only(vit.glob("cls-*/named-*/dashboard")))
    short = [j for j, rows in enumerate(block["rows"]) if -1 in rows[:9]]
    assert short, "the tiny run has latents that fire on few images"
    for latent in short:
        values, rows = block["values"][latent][:9], block["rows"][latent][:9]
        assert [v is None for v in values] == [row == -1 for row in rows]
        assert rows == sorted(rows, key=lambda row: row == -1)
        assert "-1" not in block["images"]


@pytest.mark.slow
def test_a_dashboard_that_is_made_again_has_the_same_bytes(copy):
    folder, vit = copy
    for dashboard in vit.glob("*/named-*/dashboard"):
        before = {p: p.read_bytes() for p in dashboard.rglob("[!.]*") if p.is_file()}
        # Another rule makes these, for Snakemake's report.
        before = {p: data for p, data in before.items() if p.parent.name != "report"}
        shutil.rmtree(dashboard)
        done = run_stage(folder, vit, dashboard)
        assert done.returncode == 0, done.stderr
        after = {p: p.read_bytes() for p in dashboard.rglob("[!.]*") if p.is_file()}
        volatile = dashboard / names.RUN
        assert before.keys() == after.keys()
        assert [p for p in before if before[p] != after[p] and p != volatile] == []
        assert not list(dashboard.rglob(".state"))


@pytest.mark.slow
def test_a_dictionary_that_is_not_the_analysed_one_is_refused(copy):
    folder, vit = copy
    dashboard = only(vit.glob("cls-*/named-*/dashboard"))
    meta = dashboard.parent.parent / META
    meta.write_text(meta.read_text().replace('"stage"', ' "stage"', 1))
    meta.with_name(".train_sae.made").unlink()  # as of a training by hand
    done = run_stage(folder, vit, dashboard)
    assert done.returncode == 1
    assert "wasn't made from the current result of the stage train" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_an_analysis_by_an_older_version_is_refused_and_not_misread(copy):
    folder, vit = copy
    dashboard = only(vit.glob("cls-*/named-*/dashboard"))
    meta = dashboard.parent / META
    meta.write_text(meta.read_text().replace('"format": 2', '"format": 1'))
    meta.with_name(".merge_analysis.made").unlink()
    before = (dashboard / names.PAGE).read_bytes()
    done = run_stage(folder, vit, dashboard)
    assert done.returncode == 1
    assert "was made by an older version of saev" in done.stderr
    assert "Traceback" not in done.stderr
    assert (dashboard / names.PAGE).read_bytes() == before


needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")


def enter(browser, field, text):
    """Type into a field of the controls, as far as the page can tell."""
    browser.run(
        f"(f => {{ f.value = {json.dumps(text)}; f.dispatchEvent(new Event('input')); }})"
        f"(document.getElementById('c-{field}'))"
    )


def page_of(vit, kind):
    return only(vit.glob(f"{kind}-*/named-*/dashboard")) / names.PAGE


@pytest.mark.slow
@needs_browser
def test_markup_in_labels_and_names_is_shown_as_text_in_a_browser(copy):
    _, vit = copy
    path = page_of(vit, "cls")
    evil = '</script><img src=x onerror="window.broken=1"><b>cat</b>'
    replaced = [
        ("data/latents.js", "cat"),
        (names.block(0), "cat"),
        ("index.html", vit.parent.name),
    ]
    for name, text in replaced:
        file = path.parent / name
        assert f'"{text}"' in file.read_text()
        file.write_text(file.read_text().replace(f'"{text}"', embedded(evil)))
    block = path.parent / names.block(0)
    block.write_text(block.read_text().replace('"cat/', embedded(evil)[:-1]))
    with Browser() as browser:
        browser.open(f"{path.as_uri()}#min=0&latent=0")
        browser.wait("document.querySelectorAll('#latent figure').length > 9")
        text = browser.run("document.body.textContent")
        assert text.count(evil) > 5
        assert browser.run("document.querySelectorAll('img[src=x]').length") == 0
        assert browser.run("document.querySelector('.lineage').textContent").count("<img src=x")
        assert browser.run("window.broken") is None
        assert browser.requests() == {"file"}


@pytest.mark.slow
@needs_browser
def test_a_reader_sorts_filters_and_walks_through_latents(copy):
    _, vit = copy
    path = page_of(vit, "patches")
    figures = pq.read_table(path.parent.parent / TABLE).to_pandas()
    by_mean = figures.sort_values("mean_activation", ascending=False).latent.tolist()
    n, labels = len(figures), figures["top_label.animal"].tolist()
    title = "document.querySelector('#latent h2').textContent"
    with Browser() as browser:
        browser.open(f"{path.as_uri()}#sort=mean_activation&min=0")
        first = "document.querySelector('.open-latent').getAttribute('href')"
        assert browser.run(first).endswith(f"latent={by_mean[0]}")
        browser.run("document.querySelector('.open-latent').click()")
        browser.wait("document.querySelector('#latent .contour') !== null")
        assert browser.run(title) == f"Latent {by_mean[0]}"
        browser.press("ArrowRight")
        browser.wait(f"{title} === 'Latent {by_mean[1]}'")
        browser.wait(f"location.hash.endsWith('latent={by_mean[1]}')")
        browser.press("Escape")
        browser.wait("document.getElementById('latent').hidden")
        browser.wait("!location.hash.includes('latent')")
        for text, expected in (
            ("dog", [j for j in range(n) if labels[j] == "dog"]),
            ("7", [7]),
            ("no such label", []),
        ):
            browser.run("namesRead = true; saevData.names = { keys: [], latents: [] }")
            enter(browser, "find", text)
            assert browser.run("document.getElementById('found').textContent").startswith(
                f"{len(expected)} of {n} latents"
            )
        assert "No latent passes" in browser.run("document.getElementById('cards').textContent")
        # A number comes first, also if names of images hold it.
        browser.run("saevData.names = { keys: ['tile_7.jpg'], latents: [[1, 2, 3, 7]] }")
        enter(browser, "find", "7")
        found = json.loads(browser.run("JSON.stringify(shown)"))
        assert (found[0], sorted(found)) == (7, [1, 2, 3, 7])
        browser.open(f"{path.as_uri()}#min=0&label=animal")
        # Too rare, too weak, too few labelled images: one latent each.
        browser.run("figures.fire_count[3] = 0.5e-4 * about.summary.all.n_vectors")
        browser.run("figures.mean_top_activation[5] = 0.19")
        browser.run("figures['label_support.animal'][7] = 9")
        browser.run("go({ preset: '2024' })")
        assert set(range(n)) - set(json.loads(browser.run("JSON.stringify(shown)"))) == {3, 5, 7}


@pytest.mark.slow
@needs_browser
def test_a_figure_is_shown_wherever_the_table_of_columns_says(copy):
    _, vit = copy
    path = page_of(vit, "patches")
    columns = {"name": "n_valid", "title": "top images", "format": "count", "meaning": "how many"}
    columns |= {"of_label": False, "rising": True}
    shown = {"column": "n_valid", "title": "there", "note": "of {n_images}, in {n_valid}"}
    text = path.read_text()
    for key, entry in (("columns", columns), ("card", shown), ("tiles", shown)):
        assert f'"{key}":[' in text
        text = text.replace(f'"{key}":[', f'"{key}":[{json.dumps(entry)},', 1)
    path.write_text(text.replace('"orders":[', '"orders":["n_valid",', 1))
    with Browser() as browser:
        browser.open(f"{path.as_uri()}#sort=n_valid&down=false&min=0&latent=0")
        browser.wait("document.querySelector('#latent .tiles') !== null")
        assert browser.run("document.getElementById('c-sort').value") == "n_valid"
        assert "top images" in browser.run("document.getElementById('c-sort').textContent")
        tile = "document.querySelector('.tiles div').textContent"
        assert re.fullmatch(r"there(\d)of 300, in \1", browser.run(tile))
        figure = "document.querySelector('.card .figures div')"
        assert browser.run(f"{figure}.textContent").startswith("there")
        assert "there: of 300, in " in browser.run("cardMeanings()")


@pytest.mark.slow
@needs_browser
def test_the_gallery_lists_every_run_with_its_figures_and_nothing_is_nan(copy):
    folder, vit = copy
    with Browser() as browser:
        browser.send("Page.navigate", url=(folder / "results/index.html").as_uri())
        browser.wait("document.querySelectorAll('article.run').length === 2")
        text = browser.run("document.body.textContent")
        for sae in ("cls-", "patches-"):
            analysis = only(vit.glob(f"{sae}*/named-*"))
            held_out = json.loads((analysis / META).read_text())["summary"]["splits"]["held_out"]
            for figure in ("nmse", "pca_nmse"):
                assert f"{held_out[figure]:.3f}" in text
        shown = browser.run("document.querySelector('main').innerText")
        assert not re.search("NaN|undefined|null|Infinity", shown)
