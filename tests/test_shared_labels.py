"""Labels are read once for all analyses of the same images with equal labels, and for those
alone."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from analysed import Case, cycling, vectors
from project import Project, config
from test_housekeeping import RUN, place, plan_of, whole

from saev.analyze.artifact import Analysis
from saev.core.errors import UserError
from saev.core.files import file_entry, write_json
from saev.core.locks import Lock
from saev.labels.artifact import labels_folder
from saev.tools import diff, garbage, ls, rerun, tree
from saev.tools.check import check
from saev.tools.check_inputs import Finding
from saev.workflow import jobs
from saev.workflow.plan import resolve

SITE = {"site": {"table": "sites.csv"}}
KIND = {"kind": {"table": "kinds.csv"}}


@pytest.fixture
def swept(tmp_path, monkeypatch) -> dict:
    """Settings of six points of a sweep on three images, with two tables of labels."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    for i in range(3):
        (tmp_path / f"pictures/{i}.png").write_bytes(b"not looked at")
    (tmp_path / "sites.csv").write_text("path,site\n0.png,north\n")
    (tmp_path / "kinds.csv").write_text("path,kind\n0.png,cat\n")
    given = config()
    given["vit"]["tiny"] |= {"model": "ViT-B-32", "layers": [0, 1], "weights": "random"}
    given["sae"]["cls"] |= {"batch_size": 1, "held_out": 0.5, "sweep": {"k": [1, 2, 3, 4, 5, 6]}}
    del given["sae"]["cls"]["k"], given["sae"]["patches"]
    given["analysis"] = {"sites": {"labels": SITE}}
    given["runs"] = [{"images": "pets", "vit": "tiny", "sae": "cls", "analysis": "sites"}]
    return given


def with_runs(given: dict, *analyses: str) -> dict:
    """The settings with a run for each analysis."""
    (run, *_) = given["runs"]
    return {**given, "runs": [{**run, "analysis": name} for name in analyses]}


def folders(plan, stage: str) -> list[str]:
    return [str(job.folder) for job in jobs.of_stage(plan, stage)]


def test_six_points_of_a_sweep_plan_one_job_of_labels(swept):
    plan = resolve(swept)
    planned = jobs.jobs(plan)
    (label,) = (job for job in planned if job.rule == "label_images")
    assert label.folder.parts[-2:-1] == ("labels",)
    assert label.folder.parts[1] == plan.names("images")[0]
    analyses = [job for job in planned if job.rule in ("analyze_shards", "merge_analysis")]
    assert len(analyses) == 12
    assert all(label.stamp in job.inputs for job in analyses)
    listing = [job.stamp for job in planned if job.rule == "list_images"]
    assert list(label.inputs) == listing
    # What makes labels needs neither a recording nor a dictionary.
    assert jobs.through(plan, "labels") == [*listing, label.stamp]
    assert label.stamp in jobs.through(plan, "analyze")
    assert label.stamp not in jobs.through(plan, "train")


def test_analyses_with_equal_labels_share_them_and_others_have_their_own(swept):
    swept["analysis"] |= {
        "few": {"labels": SITE, "top_images": 4},
        "both": {"labels": {**SITE, **KIND}},
        "plain": {},
    }
    plan = resolve(with_runs(swept, "sites", "few", "both", "plain"))
    names = {run["analysis"].partition("-")[0]: run.get("labels") for run in plan.runs}
    assert names["sites"] == names["few"] != names["both"]
    assert names["plain"] is None
    assert len(folders(plan, "labels")) == 2
    plain = resolve(with_runs(swept, "plain"))
    assert folders(plain, "labels") == []
    assert not [job for job in jobs.jobs(plain) if job.rule == "label_images"]


def test_a_corrected_table_changes_the_labels_and_analyses_that_name_it_alone(swept, tmp_path):
    swept["analysis"]["kinds"] = {"labels": KIND}
    swept = with_runs(swept, "sites", "kinds")
    before = resolve(swept)
    (tmp_path / "sites.csv").write_text("path,site\n0.png,south\n")
    after = resolve(swept)
    for one, other in zip(before.runs, after.runs, strict=True):
        assert (one["labels"] == other["labels"]) == one["analysis"].startswith("kinds-")
        assert (one["analysis"] == other["analysis"]) == one["analysis"].startswith("kinds-")
        assert (one["images"], one["vit"], one["sae"]) == (
            other["images"],
            other["vit"],
            other["sae"],
        )
    kinds = next(run["labels"] for run in after.runs if run["analysis"].startswith("kinds-"))
    assert before.data["specs"]["labels"][kinds] == after.data["specs"]["labels"][kinds]


def test_labels_lie_with_the_images_that_an_analysis_looks_at(swept):
    shutil.copytree("pictures", "others")
    swept["images"]["others"] = {"folder": "others"}
    (swept["analysis"]["sites"])["on"] = "others"
    plan = resolve(swept)
    (folder,) = folders(plan, "labels")
    assert folder.split("/")[1] == plan.runs[0]["on"] != plan.runs[0]["images"]


def labelled(results, run=RUN, name="site"):
    """A run with labels, and their directory."""
    analysis = whole(results, run)
    settings = {"labels": {name: {"folder": True}}}
    folder = labels_folder(results / run[0], settings["labels"])
    folder.mkdir(parents=True)
    (folder / "labels.parquet").write_bytes(b"x" * 100)
    content = {"stage": "labels", "name": folder.name, "settings": settings, "inputs": {}}
    files = [file_entry(folder / "labels.parquet")]
    write_json(folder / "meta.json", {**content, "summary": {}, "files": files})
    write_json(folder / "run.json", {"stage": "labels", "code": "c0", "seconds": 3})
    meta = tree.read(analysis)
    meta["settings"] |= settings
    meta["inputs"]["labels"] = "0" * 64
    write_json(analysis / "meta.json", meta)
    return analysis, folder


def test_gc_lists_labels_that_neither_a_run_nor_an_analysis_names(tmp_path):
    analysis, folder = labelled(tmp_path)
    plan = plan_of(tmp_path)
    assert garbage.garbage(tmp_path, plan) == []
    with_others = plan_of(tmp_path)
    with_others.data["runs"][0]["labels"] = folder.name
    meta = tree.read(analysis)
    write_json(analysis / "meta.json", {**meta, "inputs": {}})
    with_others.data["components"]["labels"] = {folder.name: {"settings": {}}}
    assert garbage.garbage(tmp_path, with_others) == []
    with Lock(folder / ".state/abc.lock", ""):
        assert garbage.garbage(tmp_path, plan) == []
    (found,) = garbage.garbage(tmp_path, plan)
    assert found.path == folder
    assert found.bytes > 100
    with pytest.raises(UserError, match="allowed: "):
        garbage._chosen([found], ["elsewhere"], tmp_path)
    assert garbage._chosen([found], [], tmp_path) == []
    (folder / "notes.txt").write_text("mine")
    assert garbage.remove([found]) == [folder]
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    (folder / "notes.txt").unlink()
    assert garbage.remove([found]) == []
    assert not folder.parent.exists()


def test_gc_removes_labels_with_their_images_and_leaves_what_is_foreign(tmp_path):
    whole(tmp_path)
    _, folder = labelled(tmp_path, ("gone-99999999", *RUN[1:]))
    (folder.parent / "notes.txt").write_text("mine")
    (found,) = garbage.garbage(tmp_path, plan_of(tmp_path))
    assert garbage.remove([found]) == [folder.parent, folder.parents[1]]
    assert [path.name for path in folder.parent.iterdir()] == ["notes.txt"]


def test_gc_lists_labels_inside_an_analysis_only_once_it_was_made_again(tmp_path):
    analysis = whole(tmp_path)
    former = [analysis / "labels.parquet", analysis / ".label_images.done"]
    for path in former:
        path.touch()
    meta = tree.read(analysis)
    own = {"name": "labels.parquet", "bytes": 0, "sha256": "0" * 64}
    write_json(analysis / "meta.json", {**meta, "files": [own]})
    assert garbage.garbage(tmp_path, plan_of(tmp_path)) == []
    write_json(analysis / "meta.json", meta)
    found = garbage.garbage(tmp_path, plan_of(tmp_path))
    assert sorted(item.path for item in found) == sorted(former)
    assert {item.level for item in found} == {None}
    old = place(tmp_path, 3, (*RUN[:3], "old-00000000"))
    (old / "labels.parquet").touch()
    assert garbage.remove([item for item in garbage.garbage(tmp_path, plan_of(tmp_path))]) == []
    assert not old.exists()


def test_ls_shows_labels_below_their_images_and_counts_them_once(tmp_path):
    _, folder = labelled(tmp_path)
    entries = ls.listing(tmp_path)
    assert [entry["level"] for entry in entries] == ["images", "labels", "vit", "sae", "analysis"]
    assert entries[1]["labels"] == folder.name
    assert entries[1]["reached"] == "labels"
    assert "  labels/" + folder.name in ls.lines(tmp_path, entries)[2]
    total = sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file())
    assert sum(entry["bytes"] for entry in entries) == total


def test_diff_shows_the_labels_that_two_analyses_were_made_from(tmp_path):
    a, _ = labelled(tmp_path / "a")
    b, folder = labelled(tmp_path / "b")
    write_json(folder / "run.json", {"code": "c1"})
    lines, _ = diff.compare(a, b)
    assert "The difference comes from: labels (code)." in lines
    other, _ = labelled(tmp_path / "c", name="kind")
    assert "analyze (settings)" in diff.compare(a, other)[0][-1]
    plain = whole(tmp_path / "d")
    assert "analyze (settings)" in diff.compare(a, plain)[0][-1]
    assert diff.compare(folder, folder)[1] is False


def test_check_names_labels_that_changed_or_are_gone(tmp_path):
    analysis, folder = labelled(tmp_path)
    table = folder / "labels.parquet"

    def texts(of):
        return [finding.text for finding in check(tmp_path)[0] if finding.folder == of]

    assert any("its input labels has changed since" in text for text in texts(analysis))
    table.write_bytes(b"y" * 100)
    assert f"{table} has another SHA-256 than when it was written" in texts(folder)
    shutil.rmtree(folder)
    assert "its input labels is gone" in texts(analysis)


def test_what_stale_labels_cost_counts_the_analyses_made_from_them(tmp_path):
    analysis, folder = labelled(tmp_path)
    write_json(analysis / "run.json", {"stage": "analyze", "seconds": 60})
    text = rerun.advice(tmp_path, [Finding(folder, "stale", "why")])
    assert "took 1:03 before" in text[0]
    assert "--forcerun labels " in text[2]


@pytest.fixture
def case(tmp_path):
    made = Case(tmp_path / "pets", vectors(300), {"kind": cycling(300, "a", "b", None)})
    made.analyse()
    return made


def test_an_analysis_reads_the_labels_of_its_images(case):
    analysis = Analysis(case.out)
    assert analysis.meta["inputs"].keys() == {"train", "activations", "labels"}
    assert analysis.label_names == analysis.labels.names == ["kind"]
    assert analysis.labels.take(np.array([2, 1])) == [{"kind": None}, {"kind": "b"}]


def test_labels_that_were_altered_or_made_again_are_refused(case):
    table, meta = case.table / "labels.parquet", case.table / "meta.json"
    kept = table.read_bytes(), meta.read_text()
    table.write_bytes(kept[0][:-1] + b"x")
    with pytest.raises(UserError, match=r"labels\.parquet has another SHA-256"):
        case.open()
    with pytest.raises(UserError, match=r"labels\.parquet has another SHA-256"):
        Analysis(case.out).labels  # noqa: B018
    table.write_bytes(kept[0])
    meta.write_text(kept[1] + "\n")
    with pytest.raises(UserError, match="wasn't made from the labels that"):
        Analysis(case.out).labels  # noqa: B018
    meta.unlink()
    with pytest.raises(UserError, match=r"meta\.json is missing"):
        Analysis(case.out).labels  # noqa: B018


def test_an_analysis_of_an_older_version_has_labels_of_its_own(case):
    shutil.move(case.table / "labels.parquet", case.out)
    shutil.rmtree(case.table.parent)
    meta = json.loads((case.out / "meta.json").read_bytes())
    del meta["inputs"]["labels"]
    meta["files"].append(file_entry(case.out / "labels.parquet"))
    write_json(case.out / "meta.json", meta)
    assert Analysis(case.out).labels.take(np.array([1])) == [{"kind": "b"}]
    (case.out / "labels.parquet").write_bytes(b"")
    with pytest.raises(UserError, match=r"labels\.parquet has 0 bytes"):
        Analysis(case.out)


def test_an_analysis_without_labels_reads_none(tmp_path):
    case = Case(tmp_path / "pets", vectors(300), {})
    case.analyse()
    analysis = Analysis(case.out)
    assert analysis.meta["inputs"].keys() == {"train", "activations"}
    assert analysis.labels.names == []
    assert analysis.labels.take(np.array([5, 9])) == [{}, {}]
    assert analysis.labels.read(0, 300).to_pydict() == {"row": list(range(300))}


def test_an_analysis_that_needs_labels_and_is_given_none_is_refused(case):
    with pytest.raises(UserError, match=r"no labels are given, but the settings name \['kind'\]"):
        case.open(labels=None)


@pytest.mark.slow
def test_a_correction_reruns_the_labels_and_analyses_that_name_them_and_nothing_else(tmp_path):
    project = Project.create(tmp_path / "project", n_images=90)
    given = project.settings()
    given["analysis"] = {
        "sites": {"labels": SITE},
        "kinds": {"labels": {"kind": {"folder": True}}},
        "plain": {"top_images": 4},
    }
    given["sae"]["cls"] |= {"batch_size": 32, "epochs": 2}
    project.configure(with_runs(given, *given["analysis"]))
    project.snakemake()
    assert project.planned() == {}
    before = project.results()
    (images,) = project.folder.glob("results/pets-*")
    assert len(list(images.glob("labels/*/labels.parquet"))) == 2
    (plain,) = images.glob("tiny-*/cls-*/plain-*")
    assert "labels" not in json.loads((plain / "meta.json").read_bytes())["inputs"]
    assert project.python("-m", "saev.tools", "check", "--deep").returncode == 0
    sites = project.folder / "sites.csv"
    sites.write_text(sites.read_text().replace("cat/0000.png,south", "cat/0000.png,east"))
    once = ("label_images", "analyze_shards", "merge_analysis", "build_dashboard", "finish_page")
    assert project.planned() == dict.fromkeys((*once, "build_gallery", "gallery"), 1)
    project.snakemake()
    after = project.results()
    kept = {name: data for name, data in before.items() if name != "index.html"}
    assert kept.items() <= after.items()
    tables = [pq.read_table(path) for path in images.glob("labels/*/labels.parquet")]
    found = [t["label.site"][0].as_py() for t in tables if "label.site" in t.column_names]
    assert sorted(found) == ["east", "south"]
    assert project.planned() == {}
    listed = project.python("-m", "saev.tools", "gc").stdout
    assert "/sites-" in listed
    assert "/labels/" not in listed  # an analysis that is here still names the former ones
