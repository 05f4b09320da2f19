"""The table of all runs: its figures are those of the artifacts, and nothing in a run breaks it."""

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from browser import CHROMIUM, Browser
from test_page_types import page_data, require
from test_reader import require_accessible

from saev.core.files import read_json
from saev.dashboard import artifact as names
from saev.dashboard import structures
from saev.dashboard.page import page
from saev.dashboard.scripts import script

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
]
EVIL = "</script><img src=x onerror='window.broken=1'>"
TITLE = "Redundancy"


def rows(browser):
    """The texts of all cells, by the heads of their columns: that before, for those in small
    print."""
    found = browser.run(
        "JSON.stringify([...document.querySelectorAll('.run-table tr')].map((line) =>"
        " [...line.cells].map((cell) => cell.textContent)))"
    )
    heads, *lines = json.loads(found)
    titles, last = [], ""
    for head in heads:
        last = (
            head.removesuffix("↕").removesuffix("↓").removesuffix("↑")
            if head[-1] in "↕↓↑"
            else last
        )
        titles.append(last if last and head[-1] in "↕↓↑" else f"{last}, {head}")
    return [dict(zip(titles, line, strict=True)) for line in lines]


def sort_by(browser, title):
    browser.run(f"document.querySelector('[aria-label=\"Sort by {title}\"]').click()")


def column(browser, title):
    return [row[title] for row in rows(browser)]


def opened(browser, file, n):
    browser.send("Page.navigate", url=file.as_uri())
    browser.wait(f"document.querySelectorAll('.run-table tbody tr').length === {n}")


@pytest.fixture(scope="module")
def runs(built):
    return page_data(built.folder / "results" / names.PAGE, "gallery")["runs"]


def copies(runs, *names_):
    """The first run again, once for each name."""
    found = []
    for i, name in enumerate(names_):
        run = json.loads(json.dumps(runs[0]))
        run["run"]["sae"], run["link"] = name, f"{i}/dashboard/index.html"
        found.append(run)
    return found


def written(folder, runs, costs=None, **content):
    """A page of all runs, in the folder of results or in an empty one."""
    made = {"runs": runs, "frontiers": [], **content}
    require(structures.Gallery, made)
    (folder / "index.html").write_bytes(page("gallery", made))
    if costs is not None:
        (folder / names.COSTS).write_bytes(script("costs", costs))
    return folder / "index.html"


def test_every_figure_is_that_of_the_artifacts(built):
    results = built.folder / "results"
    found = sorted(results.glob("*/*/*/named-*"))
    with Browser() as browser:
        opened(browser, results / names.PAGE, len(found))
        browser.wait("document.querySelector('.run-table').textContent.includes('0.')")
        browser.wait("'costs' in saevData")
        table = {row["dictionary"]: row for row in rows(browser)}
        notes = browser.run("document.querySelector('.run-notes').textContent")
    assert list(table) == [run.parent.name for run in found]
    for run in found:
        row, latents = table[run.parent.name], pq.read_table(run / "latents.parquet")
        figures = read_json(run / "meta.json")["summary"]
        images = np.array(latents["image_count"])
        assert row["tower"] == run.parent.parent.name
        assert row["vectors"] == f"{run.parent.name.partition('-')[0]}, layer 1"
        assert row["latents"] == str(len(latents))
        held_out = figures["splits"]["held_out"]
        assert float(row["L0"]) == pytest.approx(held_out["l0"], abs=0.005)
        assert row["error"].removeprefix("⚠ ") == f"{held_out['nmse']:.2f}"
        assert row["error, PCA"] == f"{held_out['pca_nmse']:.2f}"
        assert row["error"].startswith("⚠") == (held_out["pca_nmse"] <= held_out["nmse"])
        purity = np.array(latents["label_purity_top.animal"], float)[images >= 9]
        assert float(row["purity"]) == pytest.approx(np.nanmean(purity), abs=0.03)
        told = figures["all"]["label_purity_top"]["animal"]
        assert row["purity"] == f"{told['mean']:.2f}"
        assert row["purity, shuffled"] == f"{told['shuffled_mean']:.2f}"
        assert row["purity, untrained tower"] == "itself"  # its weights are random
        dead = 100 * np.mean(images == 0)
        assert float(row["dead"].removesuffix(" %")) == pytest.approx(dead, rel=0.05)
        logs = built.folder / "logs" / run.relative_to(results)
        for title, job in (("", logs.parent / "train_sae.tsv"), (", analysis", None)):
            jobs = [job] if job else [*logs.glob("analyze_shards-*"), logs / "merge_analysis.tsv"]
            jobs = [path for path in jobs if path.suffix == ".tsv"]
            measured = [next(csv.DictReader(path.open(), delimiter="\t")) for path in jobs]
            minutes = sum(float(one["s"]) for one in measured) / 60
            assert float(row[f"minutes{title}"]) == pytest.approx(minutes, abs=0.0051)
            peaks = [one["max_rss"] for one in measured]
            if "NA" not in peaks:
                most = max(map(float, peaks)) * 2**20 / 1e9
                assert float(row[f"GB{title}"]) == pytest.approx(most, abs=0.0051)
    assert "stability: no evaluation on the run's page has it (all runs)" in notes


def test_runs_are_sorted_by_any_figure_and_those_without_it_come_last(runs, tmp_path):
    made = copies(runs, "k-16", "k-8", "none", "k-100")
    values = {"k-16": 0.2, "k-8": -1e-5, "k-100": 1000.0}
    layers = {"k-16": 11, "k-8": 9, "none": 2, "k-100": 100}
    for run in made:
        name = run["run"]["sae"]
        run["settings"]["layer"] = layers[name]
        if name not in values:
            run["summary"]["splits"] = {"train": None, "held_out": None, "other": None}
            continue
        figure = {"value": values[name], "baselines": {"random directions": 0.3}}
        run["measured"] = {TITLE: figure | {"unbeaten": name == "k-16", "note": "a note"}}
        run["summary"]["splits"]["held_out"]["nmse"] = values[name] + 1
    made[3]["summary"]["splits"]["held_out"] = None
    made[3]["summary"]["splits"]["train"]["nmse"] = 0.5
    costs = {
        run["link"]: {
            stage: {"minutes": minutes, "gigabytes": None, "why": why}
            for stage in ("training", "analysis")
        }
        for run, minutes, why in zip(made, (1.5, 90.25, None), ("", "", "resumed"), strict=False)
    }
    file = written(tmp_path, made, costs, meanings={TITLE: "What it is"})
    with Browser(390, 844) as browser:
        opened(browser, file, 4)
        browser.wait("document.querySelector('.run-table').textContent.includes('90.25')")
        assert browser.run("document.documentElement.scrollWidth") <= 390
        assert column(browser, "dictionary") == ["k-16", "k-8", "none", "k-100"]
        for title, up in (
            ("dictionary", ["k-8", "k-16", "k-100", "none"]),
            ("vectors", ["none", "k-8", "k-16", "k-100"]),
            ("L0", ["k-16", "k-8", "k-100", "none"]),
            ("error", ["k-100", "k-8", "k-16", "none"]),
            ("minutes", ["k-16", "k-8", "none", "k-100"]),
            (TITLE, ["k-8", "k-16", "k-100", "none"]),
        ):
            sort_by(browser, title)
            assert column(browser, "dictionary") == up, title
            assert browser.run("document.activeElement.ariaLabel") == f"Sort by {title}"
            sort_by(browser, title)
            last = {"minutes": 2, "L0": 1, "error": 1, TITLE: 1}.get(title, 0)
            turned = up[: len(up) - last][::-1] + up[len(up) - last :]
            if title != "L0":  # all that have one have the same
                assert column(browser, "dictionary") == turned, title
        sort_by(browser, "vectors")
        assert browser.run("document.querySelectorAll('[aria-sort]').length") == 1
        none, low, high, most = rows(browser)
        assert [one["error"] for one in (none, high, most)] == ["–", "⚠ 1.20", "trained on ⚠ 0.50"]
        assert [one[TITLE] for one in (none, low, high, most)] == [
            "–",
            "-0.00001",
            "⚠ 0.2",
            "1,000",
        ]
        assert high[f"{TITLE}, random directions"] == "0.3"
        notes = browser.run("document.querySelector('.run-notes').textContent")
        assert f"{TITLE}: a note (3)" in notes
        assert f"{TITLE}: no evaluation on the run's page has it (1)" in notes
        assert "error: not defined on these vectors (1)" in notes
        assert "minutes and GB of the analysis: resumed; of the training: resumed (1)" in notes
        assert "minutes and GB: costs.js is older than the run (1)" in notes
        require_accessible(browser)


def test_purity_is_by_one_label_beside_that_of_the_untrained_tower(runs, tmp_path):
    made = copies(runs, "own", "untrained", "other", "unlabelled", "few")
    for run in made:
        run.pop("untrained", None)
    labels = [{"animal": 0.9, "site": 0.6}, {"animal": 0.8, "site": 0.7}, {"genus": 0.4}, {}]
    for run, values in zip(made, [*labels, {"animal": None}], strict=True):
        (one, *_) = run["summary"]["all"]["label_purity_top"].values()
        run["summary"]["all"]["label_purity_top"] = {
            label: one | {"mean": mean, "shuffled_mean": 0.3} for label, mean in values.items()
        }
    made[0]["untrained"] = made[1]["untrained"] = made[1]["link"]
    with Browser() as browser:
        opened(browser, written(tmp_path, made, {}), 5)
        assert column(browser, "purity") == ["0.90", "0.80", "–", "–", "–"]
        assert column(browser, "purity, shuffled") == ["0.30", "0.30", "–", "–", "0.30"]
        assert column(browser, "purity, untrained tower") == ["0.80", "itself", "–", "–", "–"]
        choose = "document.querySelector('.run-tools select')"
        texts = f"JSON.stringify([...{choose}.options].map((one) => one.textContent))"
        assert json.loads(browser.run(texts)) == ["animal", "genus", "site"]
        notes = browser.run("document.querySelector('.run-notes').textContent")
        assert "purity: the analysis has no label animal (2)" in notes
        assert "purity: no latent fires on 16 images or more (1)" in notes
        browser.run(f"{choose}.value = 'site'; {choose}.dispatchEvent(new Event('change'))")
        # An untrained tower is as good.
        assert column(browser, "purity") == ["⚠ 0.60", "0.70", "–", "–", "–"]


def test_two_runs_are_picked_and_compared(runs, tmp_path):
    made = copies(runs, "a", "b", "c")
    made[2]["settings"]["layer"] = 0
    ticks = "[...document.querySelectorAll('.run-table input')]"
    chosen = f"JSON.stringify({ticks}.map((one) => one.checked))"
    button = "document.querySelector('.run-tools .open')"
    with Browser(1280, 720, dark=True) as browser:
        opened(browser, written(tmp_path, made), 3)
        assert browser.run(f"{button}.disabled")
        for i in (0, 1):
            browser.run(f"{ticks}[{i}].click()")
        assert not browser.run(f"{button}.disabled")
        # The third takes the place of the first, and sorting keeps both.
        browser.run(f"{ticks}[2].click()")
        assert json.loads(browser.run(chosen)) == [False, True, True]
        sort_by(browser, "dictionary")
        sort_by(browser, "dictionary")
        assert json.loads(browser.run(chosen)) == [True, True, False]
        browser.run(f"{ticks}[0].focus()")
        browser.press("Tab")
        assert browser.run("document.activeElement.textContent") == "c"
        browser.run(f"{button}.click()")
        said = browser.run("document.querySelector('.pairs [role=status]').textContent")
        assert said == "They were trained on other vectors: cls 1 and cls 0."
        assert browser.run("document.activeElement.textContent") == "Compare two runs"
        browser.run(f"{ticks}[0].click()")
        assert browser.run(f"{button}.disabled")
        # Without costs.js, the page says so.
        notes = browser.run("document.querySelector('.run-notes').textContent")
        assert "minutes and GB: costs.js, beside this page, is missing or damaged." in notes


def test_hostile_names_a_hundred_runs_and_print_leave_the_table_whole(runs, tmp_path):
    hostile = [EVIL, "live\u202eevil", "__proto__", "a\nb", "x" * 300 + "-12345678"]
    made = copies(runs, *hostile, *(f"s.k-{i}" for i in range(95)))
    made[7]["current"] = False
    for run in made[:5]:
        for kind in ("images", "vit", "analysis", "trained_on"):
            run["run"][kind] = run["run"]["sae"]
        title, one = f"Probing: {run['run']['sae']}", {"baselines": {EVIL: 0.5}, "unbeaten": False}
        run["measured"] = {title: one | {"value": 0.25, "note": EVIL}}
    with Browser(390, 844) as browser:
        opened(browser, written(tmp_path, made, {}), 100)
        assert browser.run("document.documentElement.scrollWidth") <= 390
        first = rows(browser)
        assert [row["dictionary"] for row in first[:4]] == [
            EVIL,
            "live⟨202E⟩evil",
            "__proto__",
            "a · b",
        ]
        assert first[4]["dictionary"].endswith("x-12345678")
        assert first[7]["dictionary"] == "s.k-2of other settings"
        # Choosing a figure whose name can't be shown as it is still finds it.
        pick = "document.querySelectorAll('.run-tools select')[1]"
        for i in range(5):
            browser.run(f"{pick}.selectedIndex = {i}; {pick}.dispatchEvent(new Event('change'))")
            browser.run("document.querySelector('.run-notes').open = true")
            shown = [row for row in rows(browser) if "0.25" in row.values()]
            assert len(shown) == 1, i
        assert browser.run("window.broken") is None
        # The table scrolls by itself, and its names and heads stay.
        box = "document.querySelector('.run-table')"
        assert browser.run(f"{box}.clientHeight") <= 0.45 * 844 + 1
        left = f"{box}.querySelector('tbody th').getBoundingClientRect().left"
        top = f"{box}.querySelector('thead th').getBoundingClientRect().top"
        before = [browser.run(left), browser.run(top)]
        browser.run(f"{box}.scrollTo(400, 900)")
        assert [browser.run(left), browser.run(top)] == before
        sizes = f"Math.min(...[...{box}.querySelectorAll('.sort, label')].flatMap((one) =>"
        sizes += " [one.offsetWidth, one.offsetHeight]))"
        assert browser.run(sizes) >= 24
        browser.send("Emulation.setEmulatedMedia", media="print")
        assert browser.run(f"{box}.clientHeight === {box}.scrollHeight")
        assert browser.run(f"getComputedStyle({box}).overflowX") == "visible"
