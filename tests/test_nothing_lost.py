"""kill -9 in the middle of each stage, then the same command: the bytes of an undisturbed run."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
import warm
from project import Project

pytestmark = pytest.mark.slow

IMAGES = "results/pets-*"
VIT = f"{IMAGES}/tiny-*"
SAE = f"{VIT}/*-????????"
ANALYSIS = f"{SAE}/named-*"


class Job(NamedTuple):
    """A rule whose job is killed."""

    module: str
    command: str
    """The module's first argument, if it does several things."""
    removed: str
    """What is removed of a finished run, so that the rule has to run again."""
    target: str
    """What is asked for, both times: the stage, not all that comes after it."""


JOBS = {
    "list_images": Job("saev.images", "", IMAGES, "images"),
    "record_shard": Job("saev.activations", "record", VIT, "activations"),
    "seal_activations": Job("saev.activations", "seal", VIT, "activations"),
    "train_sae": Job("saev.train", "", SAE, "train"),
    "label_images": Job("saev.labels", "", f"{IMAGES}/labels", "labels"),
    "analyze_shards": Job("saev.analyze", "part", ANALYSIS, "analyze"),
    "merge_analysis": Job("saev.analyze", "merge", ANALYSIS, "analyze"),
    "build_dashboard": Job("saev.dashboard", "run", f"{ANALYSIS}/dashboard", "dashboard"),
    "build_gallery": Job("saev.dashboard", "gallery", "results/index.html", "gallery"),
}
KILLED = ("record_shard", "seal_activations", "train_sae", "merge_analysis", "build_gallery")
"""`tests/faults` kills those of the other stages as well."""
BEFORE = {"seal_activations": "record_shard", "merge_analysis": "analyze_shards"}
"""What runs before in the same stage, and is killed in other tests."""
STAGES = ["images", "activations", "train", "labels", "analyze", "dashboard", "gallery"]


def stage_of(path: str) -> str:
    """Which stage a result belongs to, by where it lies."""
    parts = path.split("/")
    if "dashboard" in parts:
        return "dashboard"
    if "labels" in parts:
        return "labels"
    depth = sum(1 for part in parts[:-1] if re.search("-[0-9a-f]{8}$", part))
    return ["gallery", "images", "activations", "train", "analyze"][depth]


def up_to(results: dict[str, bytes], stage: str) -> dict[str, bytes]:
    """Results of a stage and those before it."""
    last = STAGES.index(stage)
    return {k: v for k, v in results.items() if STAGES.index(stage_of(k)) <= last}


def group_members(group: int) -> list[int]:
    """Processes of a process group (jobs stay in Snakemake's group)."""
    members = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                members.append(int(entry.name))
    return members


def job_of(group: int, rule: str) -> int | None:
    """The Python process of a rule's job, if it is running."""
    job = JOBS[rule]
    for pid in group_members(group):
        with contextlib.suppress(OSError):
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            if "-m" not in arguments:
                continue
            module, command = arguments[arguments.index("-m") + 1 :][:2]
            if module == job.module and job.command in ("", command):
                return pid
    return None


def written_since(project: Project, moment: float) -> bool:
    """Whether any result (state and temporary files too) was written after ``moment``."""
    for path in (project.folder / "results").rglob("*"):
        if path.name == ".lock" or ".plans" in path.parts:
            continue
        with contextlib.suppress(OSError):
            if path.is_file() and path.stat().st_mtime > moment:
                return True
    return False


def start(
    project: Project, target: str = "gallery", python: str = sys.executable
) -> subprocess.Popen:
    return subprocess.Popen(
        [python, *project.command(target)[1:]],
        cwd=project.folder,
        env=project.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


class Missed(AssertionError):
    """The run ended before the moment to kill it."""


def wait_for(condition, process, seconds=120.0, pause=0.05):
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        found = condition()
        if found:
            return found
        time.sleep(pause)
    if process.poll() is not None:
        raise Missed
    raise AssertionError("the moment to kill the run didn't come in time")


def wait_for_end(pid: int) -> None:
    end = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.05)


@pytest.fixture(scope="module")
def truth(built):
    return built.results()


@pytest.fixture
def project(built, tmp_path):
    folder = tmp_path / "project"
    subprocess.run(["cp", "-a", built.folder, folder], check=True)
    return Project(folder)


def undo(project: Project, rule: str) -> str:
    """Remove what a rule has made; return the target that makes it again."""
    for path in sorted(project.folder.glob(JOBS[rule].removed)):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert project.planned(JOBS[rule].target).get(rule)
    return JOBS[rule].target


def goes_on(project: Project, truth: dict[str, bytes], process: subprocess.Popen, target: str):
    """The run has failed; the same command again gives the bytes of an undisturbed run."""
    assert process.wait() != 0
    project.snakemake(target)
    assert up_to(project.results(), target) == up_to(truth, target)


@pytest.mark.parametrize("rule", KILLED)
def test_a_killed_job_and_the_same_command_give_the_bytes_of_an_undisturbed_run(
    project, truth, rule
):
    target = undo(project, rule)
    if rule in BEFORE:
        project.snakemake("--until", BEFORE[rule], "--", target)
    process = start(project, target)
    os.kill(wait_for(lambda: job_of(process.pid, rule), process), signal.SIGKILL)
    goes_on(project, truth, process, target)


@pytest.mark.parametrize("rule", ["train_sae", "build_dashboard"])
def test_a_job_that_is_killed_while_it_writes_gives_the_same_bytes_when_run_again(
    project, truth, rule
):
    # On a busy machine the job may end between the look at its files and the kill: then once more.
    for _ in range(5):
        target = undo(project, rule)
        process = start(project, target)
        pid = wait_for(lambda p=process: job_of(p.pid, rule), process)
        began = time.time()
        try:
            wait_for(lambda since=began: written_since(project, since), process, pause=0.01)
            os.kill(pid, signal.SIGKILL)
        except (Missed, ProcessLookupError):
            assert process.wait() == 0
        if process.wait() != 0:
            return goes_on(project, truth, process, target)
    raise AssertionError("the job ended before it was killed, five times")


@pytest.mark.parametrize("rule", ["record_shard", "train_sae"])
def test_a_killed_snakemake_with_its_orphan_and_the_same_command_give_the_same_bytes(
    project, truth, rule
):
    target = undo(project, rule)
    process = start(project, target)
    wait_for(lambda: job_of(process.pid, rule), process)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGKILL)  # the job lives on, and may still write
    goes_on(project, truth, process, target)
    for pid in group_members(process.pid):
        os.kill(pid, signal.SIGKILL)


def test_ctrl_c_keeps_what_a_training_has_done_and_prints_no_traceback(project, truth):
    target = undo(project, "train_sae")
    process = start(project, target)
    pid = wait_for(lambda: job_of(process.pid, "train_sae"), process)
    states = f"{SAE}/.state/*/state*"
    state = wait_for(lambda: [*project.folder.glob(states)], process, pause=0.01)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait() != 0
    wait_for_end(pid)
    assert state[0].exists()
    logs = [path.read_text() for path in project.folder.glob("logs/**/train_sae*.log")]
    assert not any("Traceback" in text for text in logs)
    project.snakemake(target)
    assert up_to(project.results(), target) == up_to(truth, target)


def test_everything_killed_at_once_and_the_same_command_give_the_same_bytes(project, truth):
    undo(project, "record_shard")
    process = start(project, "train")
    pid = wait_for(lambda: job_of(process.pid, "train_sae"), process)
    assert pid
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    project.snakemake("train")
    assert up_to(project.results(), "train") == up_to(truth, "train")


def test_two_runs_at_once_are_refused_with_the_name_of_the_first(project):
    undo(project, "record_shard")
    process = start(project)
    try:
        wait_for(lambda: (project.folder / "results/.lock").exists(), process)
        second = project.snakemake(check=False)
        assert second.returncode != 0
        assert f"process {process.pid}" in second.stdout + second.stderr
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_edits_under_way_do_not_disturb_a_run(project, truth):
    undo(project, "list_images")
    # Its jobs are forked, as none of them is struck.
    process = start(project, "activations", str(Path(warm.interpreter()).with_name("python3")))
    wait_for(lambda: job_of(process.pid, "list_images"), process)
    shutil.copy(project.folder / "pictures/cat/0000.png", project.folder / "pictures/cat/new.png")
    before = (project.folder / "config.yaml").read_text()
    (project.folder / "config.yaml").write_text("nonsense: true\n")
    assert process.wait() == 0
    (project.folder / "config.yaml").write_text(before)
    assert up_to(project.results(), "activations") == up_to(truth, "activations")
