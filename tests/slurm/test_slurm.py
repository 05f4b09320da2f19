"""The workflow on a real Slurm of one node with pretend GPUs, which these tests start.

`make test-slurm` runs them all. They need root, and Slurm and munge from Debian's packages. Where
these are installed, `make test` runs two of them, with jobs that are forked (`warm`).
"""

import os
import re
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
import warm
from project import Project, config

SCRIPT = Path(__file__).with_name("start.sh")
CONF = Path("/etc/slurm/slurm.conf")
PLUGINS = ("snakemake_executor_plugin_slurm", "snakemake_executor_plugin_cluster_generic")
QUICK = {
    "slurm": (
        *("--slurm-status-command", "squeue"),
        *("--slurm-init-seconds-before-status-checks", "1"),
    ),
    "generic": ("--seconds-between-status-checks", "2"),
}


def lacking() -> str:
    """Why these tests can't run here; empty if they can."""
    if os.geteuid():
        return "starting Slurm needs root"
    programs = [name for name in ("slurmctld", "slurmd", "munged", "sbatch") if not _found(name)]
    if programs:
        return f"{', '.join(programs)} missing: apt-get install slurm-wlm munge"
    plugins = [name.replace("_", "-") for name in PLUGINS if find_spec(name) is None]
    if plugins:
        return f"{', '.join(plugins)} missing: make test-slurm installs them"
    if CONF.exists() and "tests of saev" not in CONF.read_text():
        return f"this machine has a Slurm of its own: {CONF}"
    return ""


def _found(program):
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")


pytestmark = [
    pytest.mark.slurm,
    pytest.mark.slow,
    pytest.mark.skipif(bool(lacking()), reason=lacking()),
]


rarely = pytest.mark.skipif(
    "SAEV_TEST_SLURM" not in os.environ, reason="takes minutes: make test-slurm runs it"
)


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory):
    root = tmp_path_factory.mktemp("slurm")
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    subprocess.run([SCRIPT, root, "32", "256000", "4"], env=environment, check=True)
    yield root
    subprocess.run(["scancel", "--user=root"], check=False)
    for name in ("slurmd", "slurmctld"):
        with suppress(OSError, ValueError):
            end(int((root / f"{name}.pid").read_text()))
    CONF.unlink()


def end(process):
    """End a process and wait until it is gone: the next Slurm needs its port."""
    os.kill(process, signal.SIGTERM)
    for _ in range(100):
        time.sleep(0.1)
        os.kill(process, 0)
    os.kill(process, signal.SIGKILL)


@pytest.fixture
def project(tmp_path):
    return made(tmp_path / "project", n_images=90)


def made(folder, n_images):
    project = Project.create(folder, n_images)
    settings = config()
    settings["runs"] = settings["runs"][:1]
    # Slurm sets CUDA_VISIBLE_DEVICES, but there is no GPU: jobs take the processor.
    settings["compute"] |= {"threads": 0, "cluster_threads": 2}
    project.configure(settings)
    return project


def command(project, profile, *arguments):
    python, module, snakemake, *_ = project.command()
    if "SAEV_TEST_SLURM" not in os.environ:
        python = warm.interpreter()
    own = "--workflow-profile", f"profiles/{profile}", *QUICK[profile]
    return [python, module, snakemake, *arguments, *own]


def submitted(project, profile, *arguments):
    """Run the workflow; return whether it succeeded and what it said."""
    done = subprocess.run(
        command(project, profile, *arguments),
        cwd=project.folder,
        env=project.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    return done.returncode == 0, done.stdout + done.stderr


def jobs(project):
    """What Slurm knows of the jobs that were submitted from a project."""
    shown = subprocess.run(
        ["scontrol", "-o", "show", "job"], capture_output=True, text=True, check=True
    ).stdout
    found = [dict(f.partition("=")[::2] for f in line.split()) for line in shown.splitlines()]
    return [job for job in found if job.get("WorkDir") == str(project.folder)]


GPUS = ("--default-resources", "gpu=1", "mem_mb=1000", "runtime=5")


@pytest.mark.parametrize("profile", ["slurm", pytest.param("generic", marks=rarely)])
def test_a_profile_runs_the_workflow_with_default_settings(project, profile):
    limited = "--set-resources", "record_shard:slurm_partition=short"
    ok, said = submitted(project, profile, *GPUS, *limited)
    assert ok, said
    assert (project.folder / "results/index.html").exists()
    assert "SLURM account" not in said
    found = jobs(project)
    # No job asks for more time than its partition allows.
    assert (found[0]["TimeLimit"] == "00:10:00") == (profile == "slurm")
    # Shard, training, part, merge and page; the short jobs ran here.
    assert len(found) == 5, said
    assert {job["JobState"] for job in found} == {"COMPLETED"}
    assert {job["CPUs/Task"] for job in found} == {"2"}
    assert {job["NumTasks"] for job in found} == {"1"}
    assert all("gpu:1" in job.get("TresPerJob", "") for job in found)


def test_a_users_mistake_reaches_the_terminal_in_one_try(project):
    (project.folder / "pictures/cat/0000.png").write_bytes(b"no picture")
    ok, said = submitted(project, "slurm", "activations")
    assert not ok
    assert "  error: 1 of the images 0 to 89 of pictures can't be read:" in said
    assert "cat/0000.png" in said
    assert re.search(r"recording shard 0 .*: failed; its log: logs/", said)
    assert len([job for job in jobs(project) if job["JobState"] == "FAILED"]) == 1


@rarely
def test_a_job_that_slurm_kills_for_memory_is_tried_again_with_more(project):
    # Two Snakemakes and PyTorch take more than 900 MB, but not 1,800.
    ok, said = submitted(
        project, "slurm", "activations", "--set-resources", "record_shard:mem_mb=attempt * 600"
    )
    assert ok, said
    assert "  trying it again (at most 2 more)" in said
    assert "Exceeded job memory limit" in said
    killed = [job for job in jobs(project) if job["JobState"] != "COMPLETED"]
    assert killed


@rarely
def test_shards_share_a_job_and_its_gpu_and_the_one_that_fails_is_named(tmp_path):
    project = made(tmp_path / "project", n_images=300)
    grouped = ("--groups", "record_shard=shards", "--group-components", "shards=2")
    scoped = ("--resources", "gpu=1", "--set-resource-scopes", "gpu=local")
    picture = project.folder / "pictures/spider/0299.png"
    whole = picture.read_bytes()
    picture.write_bytes(b"no picture".ljust(len(whole)))
    ok, said = submitted(project, "slurm", "activations", *grouped, *scoped, *GPUS)
    assert not ok
    assert "a job of 2 that run together failed" in said
    assert said.count(": failed; its log") == 1
    assert "recording shard 1 of tiny (pets): failed" in said
    (job,) = jobs(project)
    assert "gpu:1" in job["TresPerJob"]
    assert job["CPUs/Task"] == "2"
    picture.write_bytes(whole)
    ok, said = submitted(project, "slurm", "activations", *grouped, *scoped, *GPUS)
    assert ok, said


@rarely
def test_a_training_in_two_processes_is_one_task_with_two_gpus(project):
    settings = project.settings()
    settings["sae"]["cls"]["processes"] = 2
    project.configure(settings)
    ok, said = submitted(project, "slurm", "train", *GPUS)
    assert ok, said
    (job,) = [job for job in jobs(project) if "gpu:2" in job.get("TresPerJob", "")]
    assert job["NumTasks"] == job["NumNodes"] == "1"


@rarely
def test_a_job_that_slurm_will_never_start_is_said(project):
    asked = command(
        *(project, "slurm", "activations", "--set-resources"),
        *("record_shard:slurm_partition=short", "record_shard:runtime=60"),
    )
    process = subprocess.Popen(
        asked,
        cwd=project.folder,
        env=project.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = ""
    for line in process.stdout:
        said += line
        if "will never start" in line:
            break
    process.send_signal(signal.SIGINT)
    said += process.stdout.read()
    assert process.wait() != 0
    (job,) = jobs(project)
    assert f"Slurm's job {job['JobId']} (rule_record_shard" in said, said
    assert "will never start: PartitionTimeLimit. It asks for 1:00:00 of time" in said
    assert said.rstrip().endswith("stopped: the same command resumes")
    assert job["JobState"] == "CANCELLED"
