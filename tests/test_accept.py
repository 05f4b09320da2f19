"""A harmless change of code is proved on a sample, and nothing is made again; a fault never is."""

import json
import shutil
import subprocess

import pytest
import warm
from project import Project
from test_parity import FAULTS, edit
from trained import TOPK

from saev.core.spec import parsed
from saev.parity.stale import branches_of
from saev.settings.analysis import AnalysisSettings
from saev.settings.sae import AnySaeSettings

HARMLESS = (
    (
        "saev/activations/seal.py",
        "variance = moments.m2 / moments.count",
        "variance = (moments.m2) / moments.count\n    assert variance is not None",
    ),
    (
        "saev/activations/forward.py",
        "now = _begin(tower, batch, dtype) if running else",
        "now = _begin(tower, batch, dtype=dtype) if running else",
    ),
    ("saev/labels/join.py", "matched += pyarrow", "matched = matched + pyarrow"),
    ("saev/analyze/top.py", "is_largest", "holds_largest"),
    ("saev/dashboard/thumbnails.py", "quality=QUALITY, optimize=True", "optimize=True, quality=85"),
)


@pytest.fixture
def project(built, tmp_path):
    shutil.copytree(built.folder, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project")


def accept(project, *arguments):
    return subprocess.run(
        [warm.interpreter(), "-m", "saev.tools", "accept", *arguments],
        cwd=project.folder,
        env=project.environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def all_but_gallery(project):
    return {name: data for name, data in project.results().items() if name != "index.html"}


def stale(project):
    done = project.python("-m", "saev.tools", "check")
    return sorted(line.split()[1] for line in done.stdout.splitlines() if line.startswith("stale"))


@pytest.mark.slow
def test_harmless_changes_are_accepted_with_the_proof_and_nothing_runs_again(project):
    # One run is enough, and its page has maps. What is beside the page is no part of it.
    shutil.rmtree(next(project.folder.glob("results/*/*/cls-*")))
    assert list(project.folder.glob("results/*/*/*/*/dashboard/report"))
    before = all_but_gallery(project)
    # Wherever the images lie, a sample finds them.
    shutil.move(project.folder / "pictures", project.folder.parent / "pictures")
    settings = project.settings()
    settings["images"]["pets"]["folder"] = "../pictures"
    settings["runs"] = settings["runs"][1:]
    project.configure(settings)
    for file, old, new in HARMLESS:
        edit(project.folder, file, old, new)
    assert stale(project)
    done = accept(project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bit-equal (1 of 2 shards, and what joins them)" in done.stdout
    assert stale(project) == []
    assert project.planned() == {}
    assert all_but_gallery(project) == before
    recording = next(project.folder.glob("results/pets-*/tiny-*"))
    (proof,) = json.loads((recording / "run.json").read_text())["accepted"]
    assert proof["compared"][0]["verdict"] == "bit-equal"
    assert not (project.folder / ".accept").exists()
    # Its jobs know that they are done, also where Snakemake's records are lost.
    shutil.rmtree(project.folder / ".snakemake")
    for stamp in recording.glob(".record_shard-*.done"):
        stamp.unlink()
    again = project.snakemake("activations")
    assert "nothing to do" in again.stdout + again.stderr
    assert "Nothing is stale" in accept(project).stdout


@pytest.mark.slow
def test_a_fault_is_never_accepted_and_said_with_what_it_changes(project):
    for stage in ("train", "labels"):
        edit(project.folder, *FAULTS[0][stage])
    before, was = stale(project), project.results()
    done = accept(project)
    assert done.returncode == 1
    assert "0 of " in done.stdout
    for stage in ("train", "labels"):
        assert f"{stage}: nothing of" in done.stdout, done.stdout
    assert "nmse" in done.stdout
    assert stale(project) == before
    assert project.results() == was


@pytest.mark.slow
def test_what_is_trusted_is_said_so_in_its_record(project):
    edit(project.folder, *FAULTS[0]["dashboard"])
    done = accept(project, "--trust", "dashboard")
    assert done.returncode == 0, done.stdout + done.stderr
    assert stale(project) == []
    run = next(project.folder.glob("results/*/*/*/*/dashboard/run.json"))
    (proof,) = json.loads(run.read_text())["accepted"]
    assert proof["trusted"]
    assert proof["compared"] == []
    assert "there is no stage pictures" in accept(project, "pictures").stderr


def test_results_are_of_one_kind_only_if_the_same_lines_of_code_make_them():
    def branches(**changes):
        return branches_of(parsed(AnySaeSettings, TOPK | changes))

    assert branches(lr=0.1, k=7, seed=3) == branches(lr=0.2, seed=4)
    different = [{}, {"tokens": "patches"}, {"schedule": "linear"}, {"clip_norm": 1.0}]
    different += [{"aux_k": 0, "aux_coefficient": 0}, {"init": "data"}]
    assert len({branches(**changes) for changes in different}) == len(different)
    labels = [{"a": {"folder": True}}, {"a": {"folder": True}, "b": {"folder": True}}, {}]
    found = [branches_of(AnalysisSettings.model_validate({"labels": one})) for one in labels]
    assert found[0] == found[1] != found[2]
