"""The workflow on a cluster, as far as no cluster is needed: an executor that runs jobs here."""

import json
import os
import re
import subprocess
import time

import pytest
from project import ROOT, Project

pytestmark = pytest.mark.slow

STUB = ROOT / "tests/stub_executor"
CLUSTER = ("--executor", "stub", "--jobs", "2", "--workflow-profile", "none")
QUICK = ("--seconds-between-status-checks", "1", "--rerun-incomplete", "--nolock")


@pytest.fixture
def project(built, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(STUB), os.environ.get("PYTHONPATH", "")]))
    project = Project.create(tmp_path / "project", n_images=90)
    project.command = lambda *arguments: [*Project.command(project)[:3], *CLUSTER, *arguments]
    change(project, lambda settings: settings["runs"].pop())
    change(project, lambda settings: settings["compute"].update(local_images=0))
    return project


def change(project, edit):
    settings = project.settings()
    edit(settings)
    project.configure(settings)


def would_ask(project, resource, *arguments):
    """What jobs of each rule would ask for, as a dry run shows it."""
    printed = project.snakemake("--dry-run", "--forceall", "--quiet", "host", *arguments).stdout
    pattern = rf"^(?:local)?rule (\w+):\n(?:    .*\n)*?    .*?\b{resource}(?:=|: )(\d+)"
    return dict(re.findall(pattern, printed, re.M))


def asked(project):
    """What jobs asked for."""
    lines = (project.folder / "asked.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def asked_rules(project):
    """Rules of the jobs that were submitted, each alone in its job."""
    path = project.folder / "asked.jsonl"
    return [job["rules"][0] for job in asked(project)] if path.exists() else []


def wait_for(found, seconds=120):
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_cluster_is_asked_for_a_stated_number_of_cores(project):
    change(project, lambda settings: settings["compute"].update(threads=0))
    project.snakemake("activations", *QUICK)
    threads = {job["rules"][0]: job["threads"] for job in asked(project)}
    assert threads["record_shard"] == 8
    assert set(threads.values()) == {1, 8}
    for cores in ((), ("--cores", "all")):
        assert would_ask(project, "threads", *cores)["train_sae"] == "8"
    change(project, lambda settings: settings["compute"].update(cluster_threads=5))
    assert would_ask(project, "threads")["train_sae"] == "5"
    change(project, lambda settings: settings["compute"].update(threads=3))
    assert would_ask(project, "threads", "--cores", "2")["train_sae"] == "3"


def test_short_jobs_are_not_submitted_and_say_an_error_once(project):
    change(project, lambda settings: settings["compute"].pop("local_images"))
    project.snakemake("activations", *QUICK)
    assert [job["rules"] for job in asked(project)] == [["record_shard"]]
    change(project, lambda settings: settings["images"]["pets"].update(n_images=7, version="x"))
    change(project, lambda settings: settings["sae"]["cls"].update(batch_size=7))
    done = project.snakemake("images", *QUICK, check=False)
    assert (done.stdout + done.stderr).count("error: ") == 1


def test_a_profile_whose_nodes_have_gpus_says_so_in_its_default_resources(project):
    assert set(would_ask(project, "gpu").values()) == {"0"}
    found = would_ask(project, "gpu", "--default-resources", "gpu=1")
    gpus = ("record_shard", "train_sae", "analyze_shards", "merge_analysis", "build_dashboard")
    found.pop("gallery")  # a target, which isn't submitted
    assert {rule for rule, n in found.items() if n == "1"} == set(gpus)
    # Those beside the stages need none.
    change(project, lambda settings: settings["analysis"]["named"].update(projection=True))
    beside = "project_directions", "draw_openmoji", "fetch_clip_weights"
    made = "demo/cache/openmoji.json", "demo/cache/clip-vit-b-16.safetensors.json"
    found = would_ask(project, "gpu", "--default-resources", "gpu=1", "--", "gallery", *made)
    assert {rule: found[rule] for rule in beside} == dict.fromkeys(beside, "0")


def test_a_users_mistake_reaches_the_terminal_and_is_not_tried_again(project):
    (project.folder / "pictures/cat/0000.png").write_bytes(b"no picture")
    done = project.snakemake("activations", "--retries", "2", *QUICK, check=False)
    said = done.stdout + done.stderr
    assert [job["attempt"] for job in asked(project) if job["rules"] == ["record_shard"]] == [1]
    assert "recording shard 0 of tiny (pets): failed; its log: logs/pets-" in said
    assert "  error: " in said
    assert "cat/0000.png" in said
    assert "  not tried again: it needs you" in said


def test_a_job_that_was_killed_is_tried_again_and_its_last_words_are_said(project):
    # As a kill for memory looks: no error is written.
    broken = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
    (project.folder / "saev/images/__main__.py").write_text(broken)
    done = project.snakemake("images", "--retries", "1", *QUICK, check=False)
    said = done.stdout + done.stderr
    tries = asked(project)
    assert [job["attempt"] for job in tries] == [1, 2]
    assert [job["mem_mb"] for job in tries] == [2000, 4000]
    assert said.count("listing the images of pets: failed") == 2
    assert said.count("  trying it again (at most 1 more)") == 1
    assert "  the stub's job ended with 1" in said


def test_a_job_that_is_cancelled_is_tried_again_with_the_same_memory(project):
    ended = "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n"
    code = (project.folder / "saev/images/__main__.py").read_text()
    start = "def main(arguments: list[str]) -> None:\n"
    assert start in code
    inside = "".join(f"    {line}\n" for line in ended.splitlines())
    path = project.folder / "saev/images/__main__.py"
    path.write_text(code.replace(start, start + inside))
    project.snakemake("images", "--retries", "2", *QUICK, check=False)
    assert [(job["attempt"], job["mem_mb"]) for job in asked(project)] == [
        (1, 2000),
        (2, 2000),
        (3, 2000),
    ]


@pytest.mark.parametrize("arguments", [(), ("--configfile", "mine.yaml")])
def test_settings_that_are_being_saved_disturb_no_job(project, monkeypatch, arguments):
    (project.folder / "mine.yaml").write_text((project.folder / "config.yaml").read_text())
    monkeypatch.setenv("BEFORE_JOBS", 'for i in config mine; do echo "images: {" > $i.yaml; done')
    # It loads the settings in each job that runs elsewhere.
    with (project.folder / "Snakefile").open("a") as file:
        file.write(
            "\n\nrule own:\n    output: 'own'\n"
            "    shell: 'echo ' + config['images']['pets']['folder'] + ' > {output}'\n"
        )
    project.snakemake("images", "own", *QUICK, *arguments)
    assert (project.folder / "own").read_text() == "pictures\n"


def test_a_job_refuses_code_that_changed_while_it_waited_and_only_that(project, monkeypatch):
    monkeypatch.setenv("BEFORE_JOBS", "echo 'NEW = 1' >> saev/activations/shards.py")
    done = project.snakemake("activations", *QUICK, check=False)
    said = done.stdout + done.stderr
    assert "the code of saev.activations changed after this run was planned" in said
    assert asked_rules(project) == ["list_images", "record_shard"]
    assert not list((project.folder / "results").rglob("*.npy"))
    monkeypatch.delenv("BEFORE_JOBS")
    project.snakemake("activations", *QUICK)
    assert asked_rules(project).count("list_images") == 1


def test_a_training_takes_no_more_memory_than_it_asked_for(project):
    change(project, lambda settings: settings["compute"].update(data_in_memory="always"))
    little = "--set-resources", "train_sae:mem_mb=20"
    done = project.snakemake("train", *QUICK, *little, check=False)
    assert "only 0.0 GiB of memory are free" in done.stdout + done.stderr


def test_what_an_orphan_of_a_killed_submitter_finishes_is_not_made_again(project):
    process = subprocess.Popen(
        project.command("activations", *QUICK),
        cwd=project.folder,
        env=project.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    results = project.folder / "results"
    # Its job has begun and holds the lock of its result.
    wait_for(lambda: list(results.glob("*/*/.state/record_shard*.lock")))
    process.kill()
    process.wait()
    assert not list(results.glob("*/*/.record_shard*.made"))
    project.snakemake("activations", *QUICK)
    (log,) = (project.folder / "logs").glob("*/*/record_shard*.log")
    assert log.read_text().endswith(" is complete: nothing to do\n")


@pytest.mark.parametrize(
    ("state", "means"),
    [
        ("COMPLETED", "success"),
        *((state, "running") for state in ("PENDING", "STAGE_OUT", "SIGNALING", "STOPPED")),
        *((state, "failed") for state in ("TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")),
    ],
)
def test_only_a_job_that_slurm_has_given_up_counts_as_failed(tmp_path, monkeypatch, state, means):
    slurm = tmp_path / "scontrol"
    slurm.write_text(f"#!/bin/sh\necho JobId=7 JobState={state} Reason=None\n")
    slurm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    status = ROOT / "profiles/generic/status.py"
    assert subprocess.check_output([status, "7"], text=True).strip() == means


@pytest.mark.parametrize(
    ("error", "means"),
    [("Invalid job id specified", "failed"), ("Unable to contact slurm controller", "running")],
)
def test_a_job_that_slurm_has_forgotten_is_not_waited_for(tmp_path, monkeypatch, error, means):
    for name in ("scontrol", "sacct"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho {name} error: {error} >&2\nexit 1\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    status = ROOT / "profiles/generic/status.py"
    assert subprocess.check_output([status, "7"], text=True).strip() == means


@pytest.mark.parametrize("printed", ["17", "17;cluster"])
def test_a_job_that_was_submitted_is_known_by_its_number_alone(tmp_path, monkeypatch, printed):
    slurm = tmp_path / "sbatch"
    slurm.write_text(f"#!/bin/sh\necho '{printed}'\n")
    slurm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    submit = ROOT / "profiles/generic/submit.sh", "train_sae", "2", "100", "5", "0", "script"
    assert subprocess.check_output(submit, text=True) == "17\n"


def test_a_job_whose_plan_was_deleted_while_it_waited_says_to_start_again(project, monkeypatch):
    monkeypatch.setenv("BEFORE_JOBS", "rm -r results/.plans")
    done = project.snakemake("images", "--retries", "2", *QUICK, check=False)
    assert re.search(
        r"  error: results/.plans/\w+.json, the plan of this run, is gone .*: start the workflow "
        r"again\n  not tried again: it needs you",
        done.stdout + done.stderr,
    )
    assert len(asked(project)) == 1


def test_storage_that_would_lose_results_is_refused(project):
    done = project.snakemake("--shared-fs-usage", "none", *QUICK, check=False)
    assert done.returncode == 1
    assert "error: results/ must lie on a disk that all jobs see" in done.stdout + done.stderr
    assert not (project.folder / "asked.jsonl").exists()
