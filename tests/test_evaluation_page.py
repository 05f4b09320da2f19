"""What the pages show of an evaluation, and which evaluation they show."""

import json
import subprocess
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from browser import CHROMIUM, Browser
from golden import GOLDEN
from page_data import latents_of, script_data
from test_dashboard import enter
from test_evaluate_housekeeping import NAME, evaluation
from test_housekeeping import RUN, plan_of, whole
from test_page_types import page_data, require

from saev.analyze import columns
from saev.core.errors import UserError
from saev.core.files import file_entry, read_json, sha256_bytes, write_json
from saev.dashboard import __main__ as dashboard
from saev.dashboard import artifact as names
from saev.dashboard import evaluated, structures
from saev.dashboard.build import _require_of
from saev.dashboard.comparisons import Comparison, reports
from saev.dashboard.scripts import embedded
from saev.evaluate import __main__ as evaluate
from saev.evaluate.artifact import Evaluation
from saev.evaluate.figure_titles import LESS_IS_BETTER, TITLES, beats
from saev.evaluate.latent_columns import FILTERS, LATENT_COLUMNS
from saev.tools.check import check
from saev.workflow import jobs
from saev.workflow.stages import RULES

EVIL = "</script><img src=x onerror='window.broken=1'>"


@pytest.fixture
def most():
    (folder,) = GOLDEN.glob("*/*/*/*/evaluations/most-*")
    return Evaluation(folder)


def test_the_page_has_every_figure_with_its_baselines_its_note_and_its_number(most):
    shown = evaluated.described(most, [])
    require(evaluated.Evaluated, shown)
    for figure, entry in zip(shown["figures"], most.figures, strict=True):
        assert figure["key"] in TITLES
        assert entry["of"] in figure["title"]
        assert [figure[key] for key in ("n", "note")] == [entry[key] for key in ("n", "note")]
        pairs = zip(figure["baselines"], entry["baselines"].values(), strict=True)
        for one, other in [(figure, entry), *pairs]:
            assert [one[key] for key in ("value", "interval")] == [
                other[key] for key in ("value", "interval")
            ]


def test_a_figure_beats_a_baseline_only_where_more_or_less_of_it_is_better(most):
    assert beats("stability.mean", 0.5, 0.4) is True
    assert beats("stability.mean", 0.5, 0.5) is False
    assert beats("downstream.cross_entropy", 0.5, 0.4) is False
    assert beats("absorption.rate", 0.1, 0.4) is True
    assert beats("redundancy.mean", 0.5, 0.4) is None
    assert beats("stability.mean", None, 0.4) is beats("stability.mean", 0.4, None) is None
    assert beats("new.figure", 0.5, 0.4) is None
    assert {key in TITLES for key in LESS_IS_BETTER} == {True}
    entry = next(one for one in most.figures if one["metric"] == "probing")
    found = {"value": 0.5, "interval": None}
    entry |= found | {"baselines": {"pca": found, "with_error": {"value": 0.9, "interval": None}}}
    assert [one["beaten"] for one in evaluated._figure(entry)["baselines"]] == [False, None]


def test_the_page_names_the_classes_that_were_left_out(most, monkeypatch):
    few = {
        "animal": {"yak": 9, "ant": 1234},
        "masks": {},
        "kind": {f"c{i:02}": i for i in range(40)},
    }
    monkeypatch.setattr(Evaluation, "left_out", few)
    shown = evaluated.described(most, [])
    require(evaluated.Evaluated, shown)
    animal, kind = shown["left_out"]
    assert animal == {"label": "animal", "n": 2, "named": ["ant (1,234)", "yak (9)"]}
    assert (kind["n"], len(kind["named"]), kind["named"][0]) == (40, evaluated.NAMED, "c00 (0)")


def test_figures_of_latents_are_widened_by_the_columns_that_the_evaluation_has(most):
    table = pa.table({"image_count": range(24)})
    assert evaluated.widened(table, None) is table
    wide = evaluated.widened(table, most)
    assert wide.column_names[1:] == [column.name for column in evaluated.columns(most)]
    assert wide.column("moran_i").equals(most.table().column("moran_i"))
    assert "stability" not in wide.column_names
    assert {one.column for one in evaluated.filters(most)} <= set(wide.column_names)


def test_the_gallery_shows_the_figures_that_are_known(most):
    shown = evaluated.described(most, [])
    (stability,) = (one for one in shown["figures"] if one["key"] == "stability.mean")
    assert stability["value"] is None
    assert evaluated.headlines(shown) == evaluated.headlines(None) == []
    stability["value"] = 0.5
    assert evaluated.headlines(shown) == [stability]


def test_the_table_of_runs_has_every_figure_with_its_baselines_and_its_note(most):
    shown = evaluated.described(most, [])
    found = evaluated.in_short(shown)
    assert list(found) == [one["title"] for one in shown["figures"]]
    for one in shown["figures"]:
        short = found[one["title"]]
        assert [short[key] for key in ("value", "note")] == [one[key] for key in ("value", "note")]
        assert list(short["baselines"].items()) == [
            (other["title"], other["value"]) for other in one["baselines"]
        ]
        assert short["unbeaten"] == any(other["beaten"] is False for other in one["baselines"])
    assert evaluated.in_short(None) == {}


def test_the_table_of_runs_says_what_each_figure_means(most):
    shown = evaluated.described(most, [])
    told = evaluated.meanings([evaluated.in_short(shown), {"New": {}}])
    assert told == {one["title"]: one["meaning"] for one in shown["figures"] if one["meaning"]}
    assert len(told) > 10
    assert not [title for title, _ in TITLES.values() if ": " in title]


def test_names_of_columns_and_filters_are_new_to_the_page():
    known = {column.name for column in columns.COLUMNS}
    assert not known & {column.name for column in LATENT_COLUMNS}
    assert not {f.key for f in columns.filters(True, 9)} & {f.key for f in FILTERS}


def test_each_latent_has_its_own_partners():
    table = {"latent": [0, 0, 2], "partner": [2, 1, 0], "count": [30, 10, 30]}
    found = evaluated.Partners(pa.table(table | {"pmi": [1.25, 0.5, 1.25]}))
    assert found.of(range(1, 4)) == [[], [[0, 1.25, 30]], []]
    assert found.of(range(1)) == [[[2, 1.25, 30], [1, 0.5, 10]]]


def test_an_evaluation_of_an_analysis_that_was_replaced_is_refused(most):
    _require_of(most, SimpleNamespace(digest=most.meta["inputs"]["analyze"]))
    with pytest.raises(UserError, match="run the stage evaluate again"):
        _require_of(most, SimpleNamespace(digest="another"))


def test_a_page_waits_for_all_evaluations_of_its_analysis_in_the_order_of_the_runs(tmp_path):
    plan = plan_of(tmp_path)
    (run,) = plan.runs
    needs = RULES["build_dashboard"][1].needs["evaluations"]
    assert jobs.needed(plan, needs, run) == ()
    plan = plan_of(tmp_path)
    other = {**run, "sae": "seed-77777777", "evaluation": "z-99999999"}
    plan.data["runs"] = [
        other,
        run,
        *({**run, "evaluation": name} for name in ("b-55555555", "a-66666666", "b-55555555")),
    ]
    found = [path.parent.name for path in jobs.needed(plan, needs, run)]
    assert found == ["b-55555555", "a-66666666"]


def test_check_says_that_the_evaluation_on_a_page_has_changed(tmp_path):
    shown = evaluation(whole(tmp_path))
    page = tmp_path.joinpath(*RUN, "dashboard")
    page.mkdir()
    digest = sha256_bytes((shown / "meta.json").read_bytes())
    about = {"stage": "dashboard", "name": RUN[3], "settings": {}, "summary": {}, "files": []}
    write_json(page / names.SUMMARY, about | {"inputs": {f"evaluate/{NAME}": digest}})
    write_json(page / names.RUN, {"code": ""})

    def stale():
        return [f.text.split(" (")[0] for f in check(tmp_path)[0] if f.folder == page]

    assert stale() == []
    write_json(shown / "meta.json", {"stage": "evaluate", "changed": True})
    assert stale() == [f"its input evaluate/{NAME} has changed since"]


def test_the_gallery_links_reports_of_parity_and_names_those_that_it_can_not_read(tmp_path, said):
    told = {"old": "v1", "new": "worktree", "answer": EVIL}
    write_json(tmp_path / "parity/v1..work #1/report.json", told)
    write_json(tmp_path / "parity/other/report.json", [])
    (found,) = reports(tmp_path)
    require(Comparison, found)
    assert found["link"] == "parity/v1..work%20%231/index.html"
    assert (found["title"], found["answer"]) == ("v1 → worktree", EVIL)
    assert "<" not in embedded(found)
    assert said().startswith(f"{tmp_path}/parity/other/report.json isn't a report")


def _suggest(evaluation):
    """Let an evaluation suggest a word for latent 5, as a vocabulary does."""
    table = Evaluation(evaluation).table()
    words = [EVIL if latent == 5 else None for latent in range(len(table))]
    margins = [0.5 if latent == 5 else None for latent in range(len(table))]
    table = table.append_column("suggested", pa.array(words, pa.string()))
    table = table.append_column("suggested_margin", pa.array(margins, pa.float64()))
    path, meta = evaluation / "latents.parquet", read_json(evaluation / "meta.json")
    pq.write_table(table, path)
    others = [entry for entry in meta["files"] if entry["name"] != path.name]
    write_json(evaluation / "meta.json", {**meta, "files": [*others, file_entry(path)]})


@pytest.fixture(scope="module")
def results(built, tmp_path_factory):
    """Results in which a run has two evaluations, and which hold a report of parity."""
    copy = tmp_path_factory.mktemp("evaluated") / "results"
    subprocess.run(["cp", "-a", built.folder / "results", copy], check=True)
    (analysis,) = copy.glob("pets-*/tiny-*/patches-*/named-*")
    vit, (labels,) = analysis.parent.parent, copy.glob("pets-*/labels/*")
    common = ["--threads", "2", "--analysis", analysis, "--sae", analysis.parent]
    common += ["--activations", vit]
    shown = []
    for name, settings in (("first-11111111", {"coactivation": True}), ("other-22222222", {})):
        shown.append(analysis / "evaluations" / name)
        spec = ["--spec", json.dumps({"settings": settings, "resolved": {}, "code": "tests"})]
        given = [*spec, *common, "--labels", labels, "--out", shown[-1]]
        evaluate.main([*map(str, given)])
    _suggest(shown[0])
    spec = ["--spec", json.dumps({"settings": {"credit": None}, "code": "tests"})]
    given = [*spec, *common, "--images", vit.parent, "--out", analysis / names.FOLDER_NAME]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(built.folder)  # where the images lie
        dashboard.main(["run", *map(str, given), *(f"--evaluation={path}" for path in shown)])
    write_json(copy / "parity/v1..v2/report.json", {"old": "v1", "new": "v2", "answer": EVIL})
    spec = ["--spec", json.dumps({"settings": {}, "code": "tests"})]
    dashboard.main(["gallery", *spec, "--runs", str(analysis), "--out", str(copy)])
    return copy


@pytest.mark.slow
def test_pages_are_given_an_evaluation_as_their_scripts_expect_it(results):
    (page,) = results.glob("pets-*/tiny-*/patches-*/named-*/dashboard")
    about = page_data(page / names.PAGE, "start")
    require(structures.About, about)
    require(structures.PageBlock, script_data(page / names.block(0)))
    require(structures.Gallery, page_data(results / names.PAGE, "gallery"))
    assert about["evaluation"]["name"] == "first-11111111"
    assert about["evaluation"]["others"] == ["other-22222222"]
    assert {"redundancy", "moran_i", "pmi"} <= {*about["orders"]}


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_reader_sorts_filters_and_reads_by_an_evaluation(results):
    (page,) = results.glob("pets-*/tiny-*/patches-*/named-*/dashboard")
    table = Evaluation(page.parent / "evaluations/first-11111111").table()
    values = np.array(table.column("redundancy").to_pylist(), float)
    with Browser(390, 844) as browser:
        browser.open(f"{page.as_uri()}/{names.PAGE}#min=0&sort=redundancy")
        order = json.loads(browser.run("JSON.stringify(shown)"))
        np.testing.assert_array_equal(values[order], np.sort(values)[::-1])
        browser.run("document.querySelector('.run-card').open = true")
        said = browser.run("document.querySelector('.run-card').innerText")
        assert "random directions" in said
        assert "other-22222222, not shown" in said
        assert browser.run("document.documentElement.scrollWidth") <= 390
        # A value that a baseline reaches is marked, in words and by a sign.
        browser.run("window.one = structuredClone(about.evaluation.figures[1])")
        marks = "evaluationTable([window.one]).querySelector('tbody').textContent"
        for beaten, said in (("false", True), ("true", False), ("null", False)):
            browser.run(f"window.one.baselines[0].beaten = {beaten}")
            told = browser.run(marks)
            assert ("not beaten" in told, "⚠" in told) == (said, said)
        bound = float(np.median(values))
        enter(browser, "redundancy", str(bound))
        browser.wait(f"shown.length < {len(order)}")
        kept = json.loads(browser.run("JSON.stringify(shown)"))
        assert kept == [latent for latent in order if values[latent] <= bound]
        browser.run(f"openLatent({order[0]})")
        browser.wait("!document.getElementById('latent').hidden")
        tiles = browser.run("document.querySelectorAll('.tiles')[1].textContent")
        assert f"redundancy{values[order[0]]:.2f}" in tiles
        partner, pmi, n = latents_of(page)["partners"][order[0]][0]
        link = "[...document.querySelectorAll('.near')].at(-1).firstChild"
        assert browser.run(f"{link}.textContent").endswith(f"{pmi:.3g} · {n}")
        browser.run(f"{link}.click()")
        browser.wait(f"document.querySelector('#latent h2').textContent === 'Latent {partner}'")
        browser.run(f"go({{ view: 'compare', one: {partner}, two: {order[0]}, latent: null }})")
        browser.wait("document.querySelector('#view-compare .tiles') !== null")
        tiles = browser.run("document.querySelector('#view-compare .tiles').textContent")
        assert tiles.endswith(f"fire together{pmi:.3g} · {n}")
        browser.run("go({ view: 'list', sort: 'suggested_margin', latent: null })")
        browser.wait("document.querySelector('.card .suggested') !== null")
        said = browser.run("[...document.querySelectorAll('.suggested')].map((s) => s.textContent)")
        assert said == [f"suggested:{EVIL}(vocabulary)"]
        assert browser.run("shown[0]") == 5
        assert browser.run("orders().some(({ key }) => key === 'suggested')") is False
        browser.run("openLatent(5)")
        browser.wait("document.querySelector('#latent .suggested') !== null")
        assert EVIL in browser.run("document.querySelector('#latent .suggested').textContent")
        browser.send("Page.navigate", url=f"{results.as_uri()}/{names.PAGE}")
        browser.wait("document.querySelectorAll('article.run').length > 0")
        assert EVIL in browser.run("document.querySelector('.comparisons').textContent")
        assert browser.run("window.broken") is None
