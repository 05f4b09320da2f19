"""The views Contrast and Compare of a run: their data, the order, and what a reader does there."""

import base64
import json
import shutil
import subprocess
from functools import partial

import numpy as np
import pytest
import torch
from browser import CHROMIUM, Browser
from hypothesis import given
from hypothesis import strategies as st
from page_data import latents_of, script_data
from test_dashboard import only, page_of
from test_reader import SIZES, ready, require_accessible, text_of

from saev.activations.artifact import Activations
from saev.analyze.artifact import Analysis, part_json
from saev.analyze.counts import with_sums
from saev.analyze.label_counts import Vocabulary
from saev.analyze.lift import wilson_low
from saev.core.errors import UserError
from saev.core.files import read_json, write_json
from saev.dashboard import artifact as names
from saev.dashboard import contrast
from saev.dashboard.contrast import LEAST_IMAGES, MOST_LABELS, N_DRAWN, Contrast, contrasted
from saev.dashboard.scripts import embedded, varints
from saev.train import artifact as trained

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")


def integers(packed):
    """The inverse of `varints`."""
    found, value, shift = [], 0, 0
    for byte in packed:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            found.append(value)
            value = shift = 0
    return found


def by_latent(text, width):
    """What is packed for each latent."""
    rows = np.array(integers(base64.b64decode(text)), int).reshape(-1, width + 1)
    return dict(zip((np.cumsum(rows[:, 0] + 1) - 1).tolist(), rows[:, 1:].tolist(), strict=True))


@given(st.lists(st.integers(0, 2**62)))
def test_packed_integers_come_back(values):
    assert integers(varints(np.array(values, np.int64))) == values


def test_labels_of_few_images_and_those_beyond_the_most_common_are_counted(monkeypatch):
    counts = np.array([7, LEAST_IMAGES - 1, 9, LEAST_IMAGES, 8])
    vocabulary = Vocabulary(list("abcde"), counts)
    assert contrasted(vocabulary)[1:] == (["a", "c", "d", "e"], [7, 9, 5, 8], 1, 0)
    monkeypatch.setattr(contrast, "MOST_LABELS", 2)
    assert contrasted(vocabulary)[1:] == (["c", "e"], [9, 8], 1, 2)
    assert MOST_LABELS * 65_536 * 5 < 400e6  # bytes, at five for each pair


@pytest.fixture
def changed(built, tmp_path):
    """A copy of the project, whose results may be changed."""
    subprocess.run(["cp", "-a", built.folder, tmp_path / "project"], check=True)
    return tmp_path / "project"


def largest(vit, kind):
    """The latents' largest activations on each image, (images, latents), and the labels."""
    folder = only(vit.glob(f"{kind}-*"))
    activations, analysis = Activations(vit), Analysis(only(folder.glob("named-*")))
    sae = trained.load(folder, torch.device("cpu"))
    stream = activations.streams[str(sae.stream)]
    rows = activations.rows(0, 300)
    x = torch.from_numpy(activations.float32(activations.take(stream, rows)))
    with torch.no_grad():
        z = sae.encode(x.reshape(-1, stream.d)).numpy()
    values = z.reshape(len(rows), -1, sae.n_latents).max(1)
    return values, [image["animal"] for image in analysis.labels.take(rows)], sae


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cls", "patches"])
def test_the_page_is_given_what_fires_on_the_images_of_each_label(vit, kind):
    values, labels, _ = largest(vit, kind)
    page = page_of(vit, kind).parent
    index = script_data(page / names.contrast_index(0))
    block = script_data(page / names.contrast_block(0, 0))
    assert index["texts"] == sorted(set(labels))
    for text, n, fires, drawn in zip(
        index["texts"], index["images"], block["fires"], block["drawn"], strict=True
    ):
        mine = values[np.array(labels) == text]
        assert n == len(mine)
        found = by_latent(fires, 2)
        hits = (mine > 0).sum(0)
        assert {j: count for j, (count, _) in found.items()} == {
            j: count for j, count in enumerate(hits.tolist()) if count
        }
        means = mine.mean(0) / np.maximum(values.max(0), 1e-30)
        assert {j: m for j, (_, m) in found.items()} == pytest.approx(
            {j: 1000 * means[j] for j in found}, abs=0.51
        )
        assert len(drawn) == N_DRAWN
        for image in drawn:
            assert labels[image["row"]] == text == image["key"].partition("/")[0]
            assert (page / names.thumbnail(image["row"])).is_file()
            of_image = by_latent(image["fires"], 2)
            part = values[image["row"]] / np.maximum(values.max(0), 1e-30)
            assert {j: v for j, (v, _) in of_image.items()} == pytest.approx(
                {j: 255 * part[j] for j in np.flatnonzero(part).tolist()}, abs=1.01
            )


@pytest.mark.slow
def test_counts_that_were_altered_or_are_of_other_labels_are_refused(changed):
    vit = only((changed / "results").glob("pets-*/tiny-*"))
    analysis = Analysis(only(vit.glob("cls-*/named-*")))
    support = [analysis.table().column(f"label_support.{n}").to_numpy() for n in ("animal", "site")]
    found, peak = Contrast(analysis), analysis.latents()["top_values"][:, 0]
    found.take({})
    found.write(changed / "page", {}, support, peak)
    support[1] = support[1] + 1
    with pytest.raises(UserError, match="aren't those that it was made from"):
        found.write(changed / "page", {}, support, peak)
    counts = analysis.path / "parts/00000/label-00.counts.npy"
    whole = counts.read_bytes()
    counts.write_bytes(whole[:-8] + bytes(8))
    with pytest.raises(UserError, match=r"label-00\.counts\.npy"):
        Contrast(analysis)
    counts.write_bytes(whole)
    Contrast(analysis)
    described = analysis.path / part_json(0)
    content = read_json(described)
    content["files"] = [one for one in content["files"] if "sums" not in one["name"]]
    write_json(described, content)
    with pytest.raises(UserError, match="older version of saev"):
        Contrast(analysis)


@pytest.mark.slow
def test_counts_are_the_same_in_whatever_pieces_they_are_merged(vit, tmp_path, monkeypatch):
    analysis = Analysis(only(vit.glob("patches-*/named-*")))
    support = [analysis.table().column(f"label_support.{n}").to_numpy() for n in ("animal", "site")]
    written = []
    for limit in (1 << 22, 7):
        pieces = partial(with_sums, limit=limit)
        monkeypatch.setattr(contrast, "with_sums", pieces)
        found = Contrast(analysis)
        found.take({})
        found.write(tmp_path / str(limit), {}, support, analysis.latents()["top_values"][:, 0])
        written.append((tmp_path / str(limit) / names.contrast_block(0, 0)).read_bytes())
    assert written[0] == written[1]


def newcombe(hits, n, others, m):
    """Ends of the interval, from `wilson_low` alone: the upper end of a share is 1 − the lower end
    of the other images' share."""
    p, q = hits / n, others / m
    p_low, q_low = wilson_low(hits, n), wilson_low(others, m)
    p_high, q_high = 1 - wilson_low(n - hits, n), 1 - wilson_low(m - others, m)
    low = p - q - np.sqrt((p - p_low) ** 2 + (q_high - q) ** 2)
    return low, p - q + np.sqrt((p_high - p) ** 2 + (q - q_low) ** 2)


def items(browser):
    """The latents on the page, in order."""
    while browser.run("document.querySelector('.more')?.checkVisibility() ?? false"):
        browser.run("document.querySelector('.more').click()")
    links = "[...document.querySelectorAll('.versus h2 a')].map((a) => Number(a.id.slice(9)))"
    return json.loads(browser.run(f"JSON.stringify({links})"))


def sides(browser):
    """The texts on the left and on the right."""
    return browser.wait(
        "[...document.querySelectorAll('.versus-form select')].map((s) => s.value).join(' | ')"
    )


def pick(browser, field, text):
    """Choose a text on one side."""
    browser.run(
        f"(s => {{ s.value = {json.dumps(text)}; s.dispatchEvent(new Event('change')) }})"
        f"(document.getElementById('c-{field}-side')); 0"
    )


@pytest.mark.slow
@needs_browser
def test_latents_are_ordered_by_how_far_the_interval_of_the_difference_lies_from_0(vit):
    values, labels, _ = largest(vit, "patches")
    path, labels = page_of(vit, "patches"), np.array(labels)
    cat, dog = (values[labels == text] for text in ("cat", "dog"))
    hits, others = (cat > 0).sum(0), (dog > 0).sum(0)
    low, high = newcombe(hits, len(cat), others, len(dog))
    sure = np.maximum(0, np.maximum(low, -high))
    value = hits / len(cat) - others / len(dog)
    order = np.lexsort((np.arange(len(value)), -np.abs(value).round(9), -sure.round(9)))
    expected = [j for j in order.tolist() if hits[j] or others[j]]
    assert 0 < (sure > 0).sum() < len(expected)
    with Browser() as browser:
        browser.open(f"{path.as_uri()}#min=0&view=contrast&a=cat&b=dog")
        assert sides(browser) == "cat | dog"
        # Newcombe (1998), example (a): 56 of 70 and 48 of 80, method 10.
        worked = json.loads(browser.run("JSON.stringify(difference(56, 70, 48, 80))"))
        assert [round(worked[key], 4) for key in ("value", "low", "high")] == [0.2, 0.0524, 0.3339]
        # Two of three and none of four: the interval holds 0.
        assert browser.run("difference(2, 3, 0, 4).sure") == 0
        assert browser.run("difference(4, 4, 0, 9).sure") > 0.3
        assert items(browser) == expected
        said = text_of(browser, ".versus-said")
        assert said.startswith(f"{(sure[expected] > 0).sum()} of {len(expected)} latents")
        assert "chance alone would give about 2." in said
        first = text_of(browser, ".versus")
        ends = sorted(100 * abs(end[expected[0]]) for end in (low, high))
        assert f"({ends[0]:.2g} to {ends[1]:.2g})" in first.replace("(1e+02", "(100").replace(
            "to 100)", "to 1e+02)" if ends[1] > 99.5 else "to 100)"
        )
        assert f"{hits[expected[0]]} of {len(cat)}" in first
        doubtful = json.loads(
            browser.run(
                "JSON.stringify([...document.querySelectorAll('.versus')]"
                ".map((v) => v.textContent.includes('could be chance')))"
            )
        )
        assert doubtful == [bool(sure[j] == 0) for j in expected]
        for side, sign in (("a", 1), ("b", -1)):
            browser.run(f"document.getElementById('c-side-{side}').click()")
            assert items(browser) == [j for j in expected if sign * value[j] > 0]
        browser.run("document.getElementById('c-side-').click()")
        browser.run("document.getElementById('c-by-mean').click()")
        means = np.rint(1000 * np.stack([cat.mean(0), dog.mean(0)]) / values.max(0)) / 1000
        gap = np.abs(means[0] - means[1]).round(9)
        assert gap[items(browser)].tolist() == sorted(gap[expected].tolist(), reverse=True)
        # Filters hold here too.
        browser.run("go({ by: '', bounds: { ...state.bounds, min: 150 } })")
        images = (values > 0).sum(0)
        assert items(browser) == [j for j in expected if images[j] >= 150]


@pytest.mark.slow
@needs_browser
def test_both_sides_show_images_of_their_label_on_one_scale(vit):
    values, labels, _ = largest(vit, "patches")
    path = page_of(vit, "patches")
    with Browser() as browser:
        browser.open(f"{path.as_uri()}#min=0&view=contrast&a=dog&b=spider")
        sides(browser)
        found = items(browser)
        browser.wait("document.querySelectorAll('.versus .side-images:empty').length === 0")
        shown = json.loads(
            browser.run(
                "JSON.stringify([...document.querySelectorAll('.versus')].map((v) => "
                "[...v.querySelectorAll('.half')].map((h) => "
                "[...h.querySelectorAll('.side-images')].map((g) => "
                "[...g.querySelectorAll('a')].map((a) => "
                "[Number(new URLSearchParams(a.hash.slice(1)).get('row')), "
                "parseFloat(a.querySelector('.activation i').style.width), "
                "a.textContent])))))"
            )
        )
        assert browser.requests() == {"file"}
    some = 0
    for latent, halves in zip(found, shown, strict=True):
        peak = values[:, latent].max()
        for text, (strongest, drawn) in zip(("dog", "spider"), halves, strict=True):
            assert len(drawn) == N_DRAWN
            assert [w for _, w, _ in strongest] == sorted((w for _, w, _ in strongest))[::-1]
            for row, width, said in strongest + drawn:
                assert labels[row] == text
                assert width == pytest.approx(100 * values[row, latent] / peak, abs=0.4)
                assert (said == "silent") == (values[row, latent] == 0)
                some += width > 0
    assert some > 200


@pytest.mark.slow
@needs_browser
def test_what_is_contrasted_survives_reload_a_latent_and_back(vit):
    path = page_of(vit, "patches")
    with Browser() as browser:
        browser.open(path.as_uri())
        browser.run("document.querySelector('#views [value=contrast]').click()")
        assert sides(browser) == "cat | dog"
        pick(browser, "b", "spider")
        assert sides(browser) == "cat | spider"
        browser.run("document.getElementById('c-swap').focus()")
        browser.press("Enter")
        browser.wait("document.querySelector('#c-a-side').value === 'spider'")
        assert sides(browser) == "spider | cat"
        assert browser.run("document.activeElement.id") == "c-swap"
        browser.wait("location.hash.includes('a=spider')")
        latent = items(browser)[-1]
        browser.run(f"document.getElementById('contrast-{latent}').focus()")
        before = browser.run("window.scrollY")
        browser.press("Enter")
        ready(browser, latent)
        browser.press("Escape")
        browser.wait("!document.getElementById('list').hidden")
        assert sides(browser) == "spider | cat"
        assert abs(browser.run("window.scrollY") - before) < 5
        assert browser.run("document.activeElement.id") == f"contrast-{latent}"
        browser.run("document.querySelector('.versus .side-images a').click()")
        browser.wait("!document.getElementById('image').hidden")
        browser.run("history.back()")
        browser.wait("!document.getElementById('list').hidden")
        browser.send("Page.reload")
        browser.wait("document.querySelector('.versus') !== null")
        assert sides(browser) == "spider | cat"


@pytest.mark.slow
@needs_browser
def test_markup_in_the_labels_of_a_contrast_is_shown_as_text(changed):
    vit = only((changed / "results").glob("pets-*/tiny-*"))
    path = page_of(vit, "patches")
    evil = '</script><img src=x onerror="window.broken=1">\u202ecat'
    for name in (names.contrast_index(0), names.block(0)):
        file = path.parent / name
        assert '"cat"' in file.read_text()
        file.write_text(file.read_text().replace('"cat"', embedded(evil)))
    with Browser() as browser:
        browser.open(f"{path.as_uri()}#min=0&view=contrast")
        browser.wait("document.querySelector('.versus .picture img') !== null")
        shown = evil.replace("\u202e", "⟨202E⟩")
        assert text_of(browser, ".half-label") == shown
        pick_it = "document.querySelector('#c-b-side')"
        browser.run(f"{pick_it}.selectedIndex = 3; {pick_it}.dispatchEvent(new Event('change')); 0")
        browser.wait("state.b === 'spider'")
        assert browser.run("state.a") == evil
        assert browser.run("document.querySelectorAll('img[src=x]').length") == 0
        assert browser.run("window.broken") is None


@pytest.mark.slow
@needs_browser
def test_a_contrast_whose_data_is_missing_says_so(changed):
    vit = only((changed / "results").glob("pets-*/tiny-*"))
    path = page_of(vit, "cls")
    shutil.rmtree(path.parent / "data/contrast")
    with Browser() as browser:
        browser.open(f"{path.as_uri()}#view=contrast")
        missing = f"{names.contrast_index(0)} is missing next to this page"
        browser.wait(f"document.getElementById('found').textContent.includes({missing!r})")


@pytest.mark.slow
@needs_browser
def test_two_latents_are_compared_by_direction_and_by_the_images_of_both(vit):
    values, _, sae = largest(vit, "patches")
    path = page_of(vit, "patches")
    unit = torch.nn.functional.normalize(sae.W_dec.detach(), dim=1)
    cosines = (unit @ unit.T).numpy()
    block = latents_of(path.parent)
    rows = [np.array(of) for of in block["rows"]]
    fires = [{int(row) for row in of if row >= 0 and values[row, j] > 0} for j, of in
             enumerate(rows)]  # fmt: skip
    one = next(j for j in range(48) if len(fires[j]) > 20)
    nearest = block["neighbours"][one][0]
    assert fires[one] & fires[nearest]
    with Browser() as browser:
        browser.open(f"{path.as_uri()}#min=0&latent={one}")
        ready(browser, one)
        browser.run("[...document.querySelectorAll('#latent .bar button')]"
                    ".find((b) => b.textContent === 'Compare').click()")  # fmt: skip
        browser.wait("document.querySelector('#view-compare .tiles') !== null")
        for two in (nearest, (one + 11) % 48):
            browser.run(f"(f => {{ f.value = '{two}'; f.dispatchEvent(new Event('change')) }})"
                        "(document.getElementById('c-b-latent')); 0")  # fmt: skip
            browser.wait(f"document.getElementById('compare-{two}') !== null")
            tiles = text_of(browser, "#view-compare .tiles")
            assert f"cosine{cosines[one, two]:.2f}".replace("-0.00", "0.00") in tiles.replace(
                "-0.00", "0.00"
            )
            tops = [set(rows[j][:9].tolist()) - {-1} for j in (one, two)]
            assert f"{len(tops[0] & tops[1])} of {min(map(len, tops))}" in tiles
            shared = json.loads(
                browser.run(
                    "JSON.stringify([...document.querySelectorAll('.shared a')].map((a) => "
                    "[Number(new URLSearchParams(a.hash.slice(1)).get('row')), "
                    "...[...a.querySelectorAll('.activation i')]"
                    ".map((i) => parseFloat(i.style.width))]))"
                )
            )
            assert {row for row, *_ in shared} == fires[one] & fires[two]
            for row, *widths in shared:
                expected = [100 * values[row, j] / values[:, j].max() for j in (one, two)]
                assert widths == pytest.approx(expected, abs=0.4)
        browser.run("(f => { f.value = '48'; f.dispatchEvent(new Event('change')) })"
                    "(document.getElementById('c-a-latent')); 0")  # fmt: skip
        assert text_of(browser, "#refused") == "The number of a latent is 0 to 47, not 48."
        assert browser.run("state.one") == one
        browser.run("history.back()")
        ready(browser, one)


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("size", SIZES[1:3], ids=lambda s: f"{s[0]}-{'dark' if s[2] else 'light'}")
def test_axe_finds_no_violation_in_views_with_two_sides_and_nothing_is_cut_off(vit, size):
    path = page_of(vit, "patches")
    with Browser(*size) as browser:
        for view, first in (("contrast", ".versus"), ("compare", "#view-compare .tiles")):
            browser.open(f"{path.as_uri()}#min=0&view={view}")
            browser.wait(f"document.querySelector({json.dumps(first)}) !== null")
            browser.wait("document.querySelectorAll('.side-images:empty').length === 0")
            assert browser.run("document.documentElement.scrollWidth") <= size[0]
            require_accessible(browser)
        failed = [e for e in browser.events if e.get("method") == "Runtime.exceptionThrown"]
        assert failed == []
        assert browser.requests() == {"file"}
