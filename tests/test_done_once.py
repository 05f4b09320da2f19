"""Finished work stays and isn't done twice: after failed reruns, kills, wrong clocks."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
from project import Project
from test_nothing_lost import SAE, job_of, start, wait_for, wait_for_end

from saev.core.errors import UserError
from saev.core.files import file_entry, place, write_bytes
from saev.core.once import Once
from saev.core.plan_file import PLAN_VARIABLE
from saev.tools.check import check
from saev.workflow.jobs import Job, missing, settle


def once(folder, *key):
    return Once(folder / ".job.done", folder, *key)


def made(folder, *key, data=b"result"):
    write_bytes(folder / "file", data)
    (folder / "run.json").touch()
    once(folder, *key).finish([file_entry(folder / "file"), {"name": "run.json"}])


def test_a_result_is_there_under_its_own_key_only(tmp_path):
    assert not once(tmp_path, 1).there()
    made(tmp_path, 1)
    assert once(tmp_path, 1).there()
    assert not once(tmp_path, 2).there()


def edited(path, old, new):
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: (folder / "file").write_bytes(b"resulT"),
        lambda folder: (folder / "file").unlink(),
        lambda folder: (folder / "run.json").unlink(),
        lambda folder: (folder / ".job.made").unlink(),
        lambda folder: (folder / ".job.made").write_bytes(b"{"),
        lambda folder: (folder / ".job.made").write_bytes(b"[]"),
        lambda folder: edited(folder / ".job.made", b'"name"', b'"nale"'),
        lambda folder: edited(folder / ".job.made", b'"bytes"', b'"byted"'),
        lambda folder: edited(folder / ".job.made", b'"files": [', b'"files": 0, "x": ['),
    ],
)
def test_a_result_that_was_harmed_is_not_there(tmp_path, harm):
    made(tmp_path, 1)
    harm(tmp_path)
    assert not once(tmp_path, 1).there()


@pytest.mark.parametrize("lost", ["file", "run.json", "elsewhere/part.npy"])
def test_a_result_that_lost_any_file_is_made_again(tmp_path, lost):
    (tmp_path / "elsewhere").mkdir()
    for name in ("file", "run.json", "elsewhere/part.npy"):
        (tmp_path / name).write_bytes(b"result")
    entries = [file_entry(tmp_path / name, name) for name in ("file", "elsewhere/part.npy")]
    others = [{"name": "run.json"}, {"name": "none", "files": 0}, {"name": "shards/*.json"}]
    once(tmp_path, 1).finish([*entries, *others])
    job = Job("job", tmp_path, tmp_path / ".job.done", (tmp_path / "file",), ())
    settle([job])
    assert job.stamp.exists()
    assert missing([job]) == []
    (tmp_path / lost).unlink()
    assert missing([job]) == [job]
    settle([job])
    assert not job.stamp.exists()


def test_a_deep_check_names_a_changed_page_of_all_runs(tmp_path):
    write_bytes(tmp_path / "index.html", b"runs")
    Once(tmp_path / ".build_gallery.done", tmp_path).finish([file_entry(tmp_path / "index.html")])
    assert check(tmp_path, deep=True) == ([], 0)
    flipped(tmp_path / "index.html")
    ((finding,), _) = check(tmp_path, deep=True)
    assert "index.html has another SHA-256" in finding.text


WORKS = """
import time
from pathlib import Path
from saev.core import frame
from saev.core.files import file_entry, write_bytes
from saev.core.once import Once

def main(arguments):
    done = Path(arguments[arguments.index("--done") + 1])
    once, file = Once(done, done.parent, "key"), done.with_name("file")
    if once.there():
        return once.take_up()
    done.with_name("begun").touch(exist_ok=False)
    while not done.with_name("go").exists():
        time.sleep(0.05)
    write_bytes(file, b"result")
    once.finish([file_entry(file)])

frame.run(main)
"""


def test_a_job_that_waited_for_another_takes_its_result(tmp_path):
    log = tmp_path / "log"
    command = sys.executable, "-c", WORKS, "--done", tmp_path / ".job.done", "--log", log
    orphan = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait_for(lambda: (tmp_path / "begun").exists(), orphan)
    waiting = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait_for(lambda: "waiting for it to end" in log.read_text(), waiting)
    (tmp_path / "go").touch()
    # A second that did the work would fail, as it has begun.
    assert (orphan.wait(), waiting.wait()) == (0, 0)
    assert log.read_text().endswith("is complete: nothing to do\n")
    assert not (tmp_path / ".state").exists()


def test_equal_results_have_equal_stamps_on_any_day(tmp_path):
    made(tmp_path, 1)
    first = (tmp_path / ".job.done").read_bytes()
    (tmp_path / ".job.done").unlink()
    once(tmp_path, 1).take_up()
    assert (tmp_path / ".job.done").read_bytes() == first
    made(tmp_path, 2)
    assert (tmp_path / ".job.done").read_bytes() == first
    made(tmp_path, 2, data=b"another")
    assert (tmp_path / ".job.done").read_bytes() != first


def test_a_result_that_is_to_be_made_again_is_taken_up_only_once_this_run_has_made_it(
    tmp_path, monkeypatch
):
    made(tmp_path, 1)
    for number, rules in (("a", ["other"]), ("b", ["job"])):
        plan = tmp_path / f"{number}.json"
        plan.write_text(json.dumps({"forced": {"rules": rules, "at": 1.5}}))
        monkeypatch.setenv(PLAN_VARIABLE, str(plan))
        assert once(tmp_path, 1).there() == (rules == ["other"])
    made(tmp_path, 1)
    assert once(tmp_path, 1).there()


@pytest.mark.parametrize("links", [True, False])
def test_a_file_is_placed_also_where_there_are_no_hard_links(tmp_path, monkeypatch, links):
    def refused(*_):
        raise PermissionError

    if not links:
        monkeypatch.setattr(os, "link", refused)
    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "old").write_bytes(b"old")
    for _ in range(2 if links else 1):
        place(tmp_path / "new", tmp_path / "old")
        assert (tmp_path / "old").read_bytes() == b"new"
    assert {path.name for path in tmp_path.iterdir()} == ({"new", "old"} if links else {"old"})


def test_what_a_killed_job_left_beside_a_file_goes_when_the_file_is_placed(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = tmp_path / f".old.{socket.gethostname()}.{ended.pid}.0011aabb.tmp"
    left.touch()
    (tmp_path / "new").write_bytes(b"new")
    place(tmp_path / "new", tmp_path / "old")
    assert {path.name for path in tmp_path.iterdir()} == {"new", "old"}


@pytest.fixture
def project(built, tmp_path):
    folder = tmp_path / "project"
    subprocess.run(["cp", "-a", built.folder, folder], check=True)
    return Project(folder)


def started(project: Project) -> dict[str, str]:
    """When each training began, by its directory."""
    return {
        str(path.parent.relative_to(project.folder)): json.loads(path.read_text())["started"]
        for path in project.folder.glob(f"{SAE}/run.json")
    }


@pytest.mark.slow
def test_a_rerun_that_fails_leaves_the_trained_dictionary_as_it_was(project):
    before = project.results()
    failed = project.snakemake(
        "train", "--forcerun", "train_sae", "--config", "compute={device: cuda}", check=False
    )
    assert failed.returncode != 0
    assert "can use no GPU" in failed.stdout + failed.stderr
    assert project.results() == before
    # One that the failed run never got to is made again; the rest is there, and nothing is trained.
    when = started(project)
    project.snakemake()
    assert project.results() == before
    assert started(project) == when


@pytest.mark.slow
def test_a_stage_that_is_forced_is_made_again_with_the_same_bytes(project):
    before, when = project.results(), started(project)
    time.sleep(1.1)  # `started` has seconds
    project.snakemake("train", "--forcerun", "train")
    assert project.results() == before
    assert not set(started(project).values()) & set(when.values())


@pytest.mark.slow
def test_a_training_that_ended_after_snakemake_was_killed_is_taken_up(project):
    for path in project.folder.glob(SAE):
        shutil.rmtree(path)
    process = start(project, "train")
    pid = wait_for(lambda: job_of(process.pid, "train_sae"), process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_for_end(pid)
    orphans = started(project)
    assert orphans
    done = project.snakemake("train")
    assert "complete: nothing to do" in done.stdout + done.stderr
    assert orphans.items() <= started(project).items()


@pytest.mark.slow
def test_results_from_the_future_cost_nothing(project, built):
    shutil.rmtree(sorted(project.folder.glob(SAE))[0])
    for path in (project.folder / "results").rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() + 3600,) * 2)
    project.snakemake()
    assert project.results() == built.results()
    assert project.planned() == {}


@pytest.mark.slow
def test_a_file_that_was_removed_by_hand_is_made_again(project, built):
    sorted(project.folder.glob(f"{SAE}/checkpoint.safetensors"))[0].unlink()
    assert project.planned()["train_sae"] == 1
    project.snakemake()
    assert project.results() == built.results()


def test_a_plan_that_is_no_json_is_a_line(tmp_path, monkeypatch):
    (tmp_path / "plan.json").write_text("{")
    monkeypatch.setenv(PLAN_VARIABLE, str(tmp_path / "plan.json"))
    made(tmp_path, 1)
    with pytest.raises(UserError, match="start the workflow again"):
        once(tmp_path, 1).there()


def test_a_result_that_was_made_by_hand_has_no_record_of_another(tmp_path):
    made(tmp_path, 1)
    write_bytes(tmp_path / "file", b"by hand")
    Once(None, tmp_path).finish([file_entry(tmp_path / "file")])
    assert {path.name for path in tmp_path.iterdir()} == {"file", "run.json"}


def flipped(path, at=None):
    """Flip the lowest bit of a byte in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if at is None else at] ^= 1
    path.write_bytes(data)


SMALL = {
    "manifest.parquet": "activations",
    "tiny-*/images.parquet": "dashboard",
    "tiny-*/stats.safetensors": "train",
    "tiny-*/records/shard-00001.parquet": "activations",
    "tiny-*/shards/00001.json": "activations",
    "labels/*/labels.parquet": "analyze",
    "labels/*/meta.json": "analyze",
    "tiny-*/cls-*/named-*/parts/00000.json": "analyze",
    "tiny-*/cls-*/named-*/parts/00000/totals.safetensors": "analyze",
    "meta.json": "activations",
    "tiny-*/meta.json": "train",
    "tiny-*/cls-*/meta.json": "analyze",
    "tiny-*/cls-*/named-*/meta.json": "dashboard",
    "tiny-*/cls-*/named-*/dashboard/summary.json": "gallery",
    "tiny-*/cls-*/train.jsonl": "gallery",
}
LATER = {
    "train": ["*/*/.train*"],
    "activations": ["*/.record*", "*/.seal*"],
    "analyze": ["*/*/*/.merge*"],
    "dashboard": ["*/*/*/dashboard/.build*"],
    "gallery": ["../.build*"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_flipped_bit_in_a_small_file_is_never_the_truth(project, name):
    """What reads the file is made again: it names the file, or gives the bytes of an undisturbed
    run."""
    before = project.results()
    (base,) = project.folder.glob("results/pets-*")
    target = SMALL[name]
    for pattern in LATER[target]:
        for path in base.glob(pattern):
            if path.suffix == ".done" or ".record" not in path.name:
                path.unlink()
    (path,) = base.glob(name)
    # A digit of a digest, in JSON: any other flip may leave no JSON.
    flipped(path, path.read_bytes().index(b'sha256": "') + 12 if path.suffix == ".json" else None)
    done = project.snakemake(target, check=False)
    if done.returncode == 0:
        assert project.results() == before
    else:
        assert path.name in done.stdout + done.stderr
        assert "internal error" not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_deep_check_names_replaced_images_and_edited_figures_and_says_what_a_quick_one_skips(
    project,
):
    def checked(*arguments):
        return project.python("-m", "saev.tools", "check", *arguments)

    quick = checked()
    assert quick.returncode == 0, quick.stdout
    assert "images weren't looked at" in quick.stdout
    assert checked("--deep").returncode == 0
    picture = project.folder / "pictures/cat/0000.png"
    flipped(picture)
    (summary,) = project.folder.glob("results/*/*/cls-*/*/dashboard/summary.json")
    summary.write_text(summary.read_text().replace('"nmse": 0.', '"nmse": 0.1', 1))
    deep = checked("--deep")
    assert deep.returncode == 1
    assert "cat/0000.png" in deep.stdout
    assert "1 images of" in deep.stdout
    assert "summary.json" in checked().stdout
    picture.unlink()
    gone = checked("--deep").stdout
    assert "1 of 300 images" in gone
    assert "if you moved them, change the path in the settings" in gone
