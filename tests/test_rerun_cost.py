"""What `saev plan` and `saev check` say of the cost of a rerun."""

import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from saev.core.files import write_json
from saev.tools import estimate, pace, rerun
from saev.tools.check_inputs import Finding
from saev.workflow import jobs
from saev.workflow.plan import Plan

RUN = ("pets-11111111", "tiny-22222222", "cls-33333333", "named-44444444")


def record(folder: Path, stage: str, seconds: float, **more) -> Path:
    """The record of a result that took so long."""
    write_json(
        folder / "run.json",
        {"stage": stage, "seconds": seconds, "host": socket.gethostname(), **more},
    )
    return folder


def measure(root: Path, folder: Path, rule: str, seconds: float) -> None:
    """What Snakemake measured of a job."""
    path = root / "logs" / folder.relative_to(root / "results") / f"{rule}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:01\t1.0\n")


@pytest.fixture
def made(tmp_path):
    """Results that took 10, 20 and 40 s, and whose jobs took 3, 5 and 9 s more."""
    folders = [tmp_path.joinpath("results", *RUN[:n]) for n in (2, 3, 4)]
    stages = ("activations", "train", "analyze")
    rules = ("seal_activations", "train_sae", "merge_analysis")
    for i, (folder, stage, rule) in enumerate(zip(folders, stages, rules, strict=True)):
        record(folder, stage, 10 * 2**i)
        measure(tmp_path, folder, rule, 10 * 2**i + (3, 5, 9)[i])
    return folders


def test_the_start_of_a_job_is_what_it_took_beyond_its_work(made, tmp_path):
    assert sorted(rerun.starts(tmp_path / "results")) == [3, 5, 9]
    # Taken up again in 2 s, made on another machine, or without a record: none tells of a start.
    measure(tmp_path, made[0], "seal_activations", 2)
    record(made[1], "train", 20, host="elsewhere")
    (made[2] / "run.json").write_text("{")
    assert rerun.starts(tmp_path / "results") == []


def test_plan_counts_the_start_of_every_job(made, tmp_path, monkeypatch):
    monkeypatch.setattr(estimate, "work", lambda plan, missing: [])
    plan = Plan(
        {"compute": {"threads": 1}, "runs": [], "components": {}}, str(tmp_path / "results")
    )
    missing = [jobs.Job("label_images", tmp_path, tmp_path / "stamp", (), ())] * 100
    _, start, total = estimate._times(plan, missing, cores=2)
    assert start.split() == ["start", "jobs", "100", "jobs", "5.0", "s", "each", "8:20"]
    assert total == "4:10 in total on 2 cores, plus the time to make pages"
    elsewhere = Plan(plan.data, str(tmp_path / "nowhere"))
    assert "total time unknown" in estimate._times(elsewhere, missing, cores=2)[-1]


def test_check_says_what_stale_results_and_those_below_them_took_and_the_command(made, tmp_path):
    results = tmp_path / "results"
    record(made[0], "activations", 10, recording_seconds=600)
    stale = [Finding(folder, "stale", "why") for folder in (made[1], made[2])]
    text = rerun.advice(results, stale)
    assert "took 1:00 before" in text[0]
    assert text[2].startswith("  snakemake --cores all --forcerun train  ")
    text = rerun.advice(results, [*stale, Finding(made[0], "stale", "why")])
    assert "took 11:10 before" in text[0]
    assert "--forcerun activations " in text[2]
    assert rerun.advice(results, [Finding(made[0], "altered", "why")]) == []


def test_plan_reads_the_rates_of_equal_dictionaries_once_however_many_are_to_be_trained(
    made, tmp_path, monkeypatch
):
    meta = {
        "stage": "train",
        "settings": {"n_latents": 48},
        "inputs": {},
        "summary": {},
        "files": [],
    }
    write_json(made[1] / "meta.json", meta)
    record(made[1], "train", 20, examples_per_second=7.0)
    read, looked = pace.read_json, []
    monkeypatch.setattr(pace, "read_json", lambda path: looked.append(path) or read(path))
    done = pace.Done(tmp_path / "results")
    for n in (48, 48, 48, 96):
        settings = SimpleNamespace(n_latents=n)
        rates = done.rates(settings, ("n_latents",), "run.json", "examples_per_second")
        assert rates == ([7.0] if n == 48 else [])
    assert looked == [made[1] / "run.json"]
