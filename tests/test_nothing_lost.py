"""kill -9 in the middle of each stage, then the same command: the bytes of an undisturbed run."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from project import Project

pytestmark = pytest.mark.slow

# What is removed of a finished run, so that the stage and all after it have to run again.
STAGES = {
    "list_images": "results/pets-*",
    "record_shard": "results/pets-*/tiny-*",
    "train_sae": "results/pets-*/tiny-*/*-????????",
    "analyze_shards": "results/pets-*/tiny-*/*-????????/named-*",
    "build_dashboard": "results/pets-*/tiny-*/*-????????/named-*/dashboard",
}


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
    module = {
        "list_images": "saev.images",
        "record_shard": "saev.activations",
        "train_sae": "saev.train",
        "analyze_shards": "saev.analyze",
        "build_dashboard": "saev.dashboard",
    }[rule]
    for pid in group_members(group):
        with contextlib.suppress(OSError):
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if arguments[1:3] == [b"-m", module.encode()]:
                return pid
    return None


def written_since(project: Project, moment: float) -> bool:
    """Whether any result (state and temporary files too) was written after ``moment``."""
    for path in (project.folder / "results").rglob("*"):
        with contextlib.suppress(OSError):
            if path.is_file() and ".plans" not in path.parts and path.stat().st_mtime > moment:
                return path.name != ".lock"
    return False


def start(project: Project) -> subprocess.Popen:
    return subprocess.Popen(
        project.command(),
        cwd=project.folder,
        env=project.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def wait_for(condition, process, seconds=120.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError("the run ended, or took too long, before the moment to kill it")


@pytest.fixture(scope="module")
def truth(built):
    return built.results()


@pytest.fixture
def project(built, tmp_path):
    folder = tmp_path / "project"
    subprocess.run(["cp", "-a", built.folder, folder], check=True)
    return Project(folder)


def undo(project: Project, rule: str) -> None:
    for path in sorted(project.folder.glob(STAGES[rule])):
        shutil.rmtree(path, ignore_errors=True)
    assert project.planned().get(rule)


@pytest.mark.parametrize("instant", ["at once", "when it writes"])
@pytest.mark.parametrize("rule", STAGES)
def test_a_killed_job_and_the_same_command_give_the_bytes_of_an_undisturbed_run(
    project, truth, rule, instant
):
    undo(project, rule)
    process = start(project)
    pid = wait_for(lambda: job_of(process.pid, rule), process)
    if instant == "when it writes":
        began = time.time()
        with contextlib.suppress(AssertionError):
            wait_for(lambda: written_since(project, began), process, seconds=30)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    process.wait()
    project.snakemake()
    assert project.results() == truth


@pytest.mark.parametrize("rule", STAGES)
def test_a_killed_snakemake_with_its_orphan_and_the_same_command_give_the_same_bytes(
    project, truth, rule
):
    undo(project, rule)
    process = start(project)
    wait_for(lambda: job_of(process.pid, rule), process)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGKILL)  # the job lives on, and may still write
    process.wait()
    project.snakemake()
    for pid in group_members(process.pid):
        os.kill(pid, signal.SIGKILL)
    assert project.results() == truth


def test_a_power_cut_and_the_same_command_give_the_same_bytes(project, truth):
    undo(project, "record_shard")
    process = start(project)
    pid = wait_for(lambda: job_of(process.pid, "train_sae"), process)
    assert pid
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    project.snakemake()
    assert project.results() == truth


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
    process = start(project)
    wait_for(lambda: job_of(process.pid, "list_images"), process)
    shutil.copy(project.folder / "pictures/cat/0000.png", project.folder / "pictures/cat/new.png")
    before = (project.folder / "config.yaml").read_text()
    (project.folder / "config.yaml").write_text("nonsense: true\n")
    assert process.wait() == 0
    (project.folder / "config.yaml").write_text(before)
    assert project.results() == truth
