"""Two runs are compared in the gallery: their latents are matched by directions."""

import base64
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import CHROMIUM, Browser
from page_data import column, script_data
from test_dashboard import only
from test_reader import require_accessible, text_of

from saev.dashboard import __main__ as dashboard
from saev.dashboard import artifact as names
from saev.dashboard.run_matches import BROWSER, match_runs, matched
from saev.dashboard.scripts import script
from saev.tools.leftovers import former_matches

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")]
N = 48
STATUS = ".pairs [role=status]"
MORE = (
    "document.querySelectorAll('.pairs .more').forEach((m) => { while (!m.hidden) m.click() }); 0"
)
READY = "document.querySelector('.pairs .open') !== null"


def packed(rows):
    return [base64.b64encode(row.tobytes()).decode() for row in rows]


@pytest.fixture(scope="module")
def results(built, tmp_path_factory):
    """A run, and a second one with its directions in another order, of which eight are new."""
    folder = tmp_path_factory.mktemp("pairs") / "results"
    subprocess.run(["cp", "-a", built.folder / "results", folder], check=True)
    first = only(folder.glob("pets-*/tiny-*/patches-*"))
    second = first.with_name("patches-99999999")
    subprocess.run(["cp", "-a", first, second], check=True)
    page = only(second.glob("named-*/dashboard"))
    file = page / names.directions(0)
    rows = np.stack([np.frombuffer(base64.b64decode(t), np.int8) for t in script_data(file)])
    rng = np.random.default_rng(0)
    order = rng.permutation(N)
    turned = rows[order].copy()
    turned[:8] = rng.integers(-127, 128, (8, rows.shape[1]))
    # One resembles what it replaces: by a cosine of 0.6.
    old, new = (v / np.linalg.norm(v) for v in (rows[order[0]] * 1.0, turned[0] * 1.0))
    across = new - (new @ old) * old
    mixed = 0.6 * old + 0.8 * across / np.linalg.norm(across)
    turned[0] = np.rint(127 * mixed / np.abs(mixed).max())
    file.write_bytes(script("directions 0", packed(turned)))
    summary = page / names.SUMMARY
    summary.write_text(summary.read_text().replace(first.name, second.name))
    page.joinpath(".build_dashboard.made").unlink(missing_ok=True)
    spec = json.dumps({"settings": {"sweeps": {}}, "code": "1"})
    runs = [only(one.glob("named-*")) for one in (first, second, only(first.parent.glob("cls-*")))]
    given = ["--spec", spec, "--runs", *map(str, runs), "--out", str(folder)]
    dashboard.main(["gallery", *given])
    fires = column(script_data(page / names.FIGURES)["numbers"]["image_count"]) > 0
    return folder, rows, turned, fires


def choose(browser, first, second):
    """Choose two runs by their places, and match them."""
    fields = "document.querySelectorAll('.pairs select')"
    for field, place in enumerate((first, second)):
        browser.run(f"{fields}[{field}].selectedIndex = {place}")
    browser.run("document.querySelector('.pairs .open').click()")


def pairs_of(browser, section):
    """The pairs of latents in a list, and what stands between them."""
    items = f"[...document.querySelectorAll('.pairs-found section')[{section}].querySelectorAll"
    found = browser.run(
        f"JSON.stringify({items}('li')].map((li) => [...li.querySelectorAll('a')].map((a) => "
        "Number(a.href.split('latent=')[1])).concat(Number(li.querySelector('.number').innerText))))"
    )
    return [tuple(pair) for pair in json.loads(found)]


def test_latents_of_two_runs_are_matched_one_to_one_by_the_cosine_of_directions(results):
    folder, ours, theirs, fires = results
    unit = [rows / np.linalg.norm(rows.astype(float), axis=1)[:, None] for rows in (ours, theirs)]
    cosines = unit[0] @ unit[1].T
    cosines[~fires], cosines[:, ~fires] = -9, -9
    expected, left = {}, cosines.copy()
    chance = np.sqrt(2 * np.log(N) / ours.shape[1])
    while left.max() > chance:
        place = np.unravel_index(left.argmax(), left.shape)
        expected[tuple(map(int, place))] = cosines[place]
        left[place[0]], left[:, place[1]] = -9, -9
    assert 20 < len(expected) < fires.sum()
    again = sum(cosine >= 0.7 for cosine in expected.values())
    assert 20 < again < len(expected)
    with Browser() as browser:
        browser.send("Page.navigate", url=(folder / "index.html").as_uri())
        browser.wait("document.querySelector('.pairs .open') !== null")
        choose(browser, 0, 1)
        browser.wait("document.querySelectorAll('.pairs-found section').length === 3")
        live = int(fires.sum())
        said = text_of(browser, ".pairs [role=status]")
        assert said.startswith(f"{len(expected)} of {live} latents of the first and {live} of")
        assert f"one to one, {again} of them with a cosine of 0.7 or more" in said
        assert f"nearer than {chance:.2f}, about what the nearest" in said
        browser.run(MORE)
        found = pairs_of(browser, 0)
        assert {pair[:2] for pair in found} == set(expected)
        assert [c for *_, c in found] == pytest.approx(sorted(expected.values())[::-1], abs=0.006)
        for section, axis in ((1, 0), (2, 1)):
            alone = set(np.flatnonzero(fires).tolist()) - {pair[axis] for pair in expected}
            there = pairs_of(browser, section)
            assert {pair[axis] for pair in there} == alone
            for one, other, cosine in there:
                along = cosines[one] if axis == 0 else cosines[:, other]
                assert cosine == pytest.approx(along.max(), abs=0.006)
        browser.wait("document.querySelectorAll('.pair-list .row:empty').length === 0")
        assert browser.run("document.querySelectorAll('.pair-list img').length") > 100
        require_accessible(browser)
        # The address remembers the runs.
        browser.send("Page.reload")
        browser.wait("document.querySelectorAll('.pairs-found section').length === 3")
        assert text_of(browser, ".pairs [role=status]") == said
        assert browser.requests() == {"file"}
        # A job of larger runs finds the same, and the page shows it whichever run comes first.
        browser.run(MORE)
        shown = [sorted(pairs_of(browser, section)) for section in range(3)]
        large = folder / "large.html"
        page = (folder / "index.html").read_text()
        assert f"MOST_MATCHED = {BROWSER};" in page
        large.write_text(page.replace("MOST_MATCHED = 8192", "MOST_MATCHED = 8"))
        browser.send("Page.navigate", url=large.as_uri())
        status = "document.querySelector('.pairs [role=status]').textContent"
        browser.wait(f"location.href.includes('large') && {READY}")
        choose(browser, 0, 1)
        browser.wait(f"{status}.includes('run yet')")
        assert "“snakemake match_runs” matches larger ones; it" in text_of(browser, STATUS)
        options = "[...document.querySelector('.pairs select').options]"
        links = json.loads(browser.run(f"JSON.stringify({options}.map((one) => one.value))"))
        both = (torch.from_numpy(rows.astype(np.float32)) for rows in (ours, theirs))
        first, second = ((rows, fires) for rows in both)
        file = names.matched("0")
        found = script(file, {**matched(*first, *second), "made_of": []})
        index = {"pairs": [], "n_left_out": 7}
        (folder / file).parent.mkdir()
        (folder / file).write_bytes(found)
        (folder / names.MATCHED).write_bytes(script("matched", index)[:-9])
        choose(browser, 0, 1)
        browser.wait(f"{status}.startsWith('{names.MATCHED} is damaged')")
        (folder / names.MATCHED).write_bytes(script("matched", index))
        choose(browser, 0, 1)
        browser.wait(f"{status}.includes('matched these two. It left out 7')")
        index["pairs"].append({"first": links[0], "second": links[1], "file": file})
        (folder / names.MATCHED).write_bytes(script("matched", index))
        sections = "document.querySelectorAll('.pairs-found section').length === 3"
        browser.send("Page.reload")
        browser.wait(sections)
        browser.run(MORE)
        assert text_of(browser, STATUS) == said
        assert [sorted(pairs_of(browser, section)) for section in range(3)] == shown
        choose(browser, 1, 0)
        browser.wait(sections)
        browser.run(MORE)
        turned = [sorted((b, a, c) for a, b, c in pairs_of(browser, i)) for i in (0, 2, 1)]
        assert turned == shown


def test_runs_whose_directions_mean_different_things_are_not_matched(results):
    folder, *_ = results
    with Browser(390, 844) as browser:
        browser.send("Page.navigate", url=(folder / "index.html").as_uri())
        browser.wait("document.querySelector('.pairs .open') !== null")
        choose(browser, 0, 2)
        said = text_of(browser, ".pairs [role=status]")
        assert said == "They were trained on other vectors: patches 1 and cls 1."
        choose(browser, 1, 1)
        assert text_of(browser, ".pairs [role=status]") == "Choose two different runs."
        assert browser.run("document.documentElement.scrollWidth") <= 390
        # An older page has no directions.
        only(folder.glob("*/*/patches-99999999/*/dashboard/data/directions/0000.js")).rename(
            folder / "away.js"
        )
        choose(browser, 0, 1)
        older = "copied whole? Its page may be by an older version"
        browser.wait(
            f"document.querySelector('.pairs [role=status]').textContent.includes('{older}')"
        )
        # One by the version before keeps data in the order of latents.
        of_latents = only(folder.glob("*/*/patches-99999999/*/dashboard/data/latents.js"))
        whole = of_latents.read_text()
        of_latents.write_text(whole.replace('"place":', '"was":'))
        choose(browser, 0, 1)
        browser.wait(
            "document.querySelector('.pairs [role=status]').textContent.endsWith("
            "'dashboard/index.html is by an older version: make it again.')"
        )
        of_latents.write_text(whole)


def test_the_job_matches_each_pair_that_can_be_compared_once(results):
    folder, *_ = results
    runs = sorted(one.parent.parent for one in folder.glob("*/*/*/*/dashboard/index.html"))
    shutil.rmtree(folder / "matched", ignore_errors=True)

    def match(above, sweeps=None, code="1"):
        match_runs(folder, runs, sweeps or {}, code, torch.device("cpu"), above)
        return script_data(folder / names.MATCHED)

    assert match(N) == {"pairs": [], "n_left_out": 0}
    # Neither a run of CLS vectors beside one of patches, nor two analyses of one dictionary.
    index = match(N - 1)
    (pair,) = index["pairs"]
    assert {"patches-99999999"} < {Path(pair[side]).parts[2] for side in ("first", "second")}
    made = folder / pair["file"]
    before = made.stat().st_mtime_ns
    # The two hold the same dictionary, so each latent that fires finds itself.
    found = script_data(made)
    assert found["pairs"]["latent"] == found["pairs"]["other"]
    assert len(base64.b64decode(found["pairs"]["latent"])) / 4 == found["n"][0] > 20
    assert match(N - 1) == index
    assert made.stat().st_mtime_ns == before
    match(N - 1, code="2")
    assert made.stat().st_mtime_ns > before
    whole = made.read_bytes()
    made.write_bytes(whole[: len(whole) // 2])
    match(N - 1, code="2")
    assert made.read_bytes() == whole
    former = made.with_name("0123456789abcdef.js")
    shutil.copy(made, former)
    assert [found.path for found in former_matches(folder)] == [former]
