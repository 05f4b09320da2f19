"""What the gallery says that runs took: only what was measured of the jobs that made them."""

import pytest
from page_data import script_data
from test_page_types import require

from saev.core.benchmark_files import measured
from saev.core.files import write_json
from saev.dashboard import artifact as names
from saev.dashboard import run_costs
from saev.dashboard.run_costs import RunCost, run_cost, write_costs

RUN = ("pets-11111111", "tiny-22222222", "cls-33333333", "named-44444444")
HEAD = "s\th:m:s\tmax_rss\tmax_vms\n"


@pytest.fixture
def out(tmp_path):
    """A run whose training took 90 s, and whose analysis took 20, 30 and 10 s."""
    out = tmp_path / "results"
    run = out.joinpath(*RUN)
    trained = {"seconds": 80.0, "trained_by": RUN[2], "examples_per_second": 1000.0}
    write_json(run.parent / "run.json", trained)
    write_json(run.parent / "meta.json", {"summary": {"examples": 70_000}})
    write_json(run / "run.json", {"seconds": 9.0})
    for part in ("00000", "00001"):
        write_json(run / "parts" / f"{part}.json", {"files": []})
        write_json(run / "parts" / part / "run.json", {"seconds": 15.0})
    measure(out, "cls-33333333/train_sae", 90, 1000)
    measure(out, "cls-33333333/named-44444444/analyze_shards-00000", 20, 500)
    measure(out, "cls-33333333/named-44444444/analyze_shards-00001", 30, 2000)
    measure(out, "cls-33333333/named-44444444/merge_analysis", 10, 400)
    return out


def measure(out, job, seconds, peak, head=HEAD):
    """What Snakemake measured of a job."""
    path = out.parent.joinpath("logs", *RUN[:2], f"{job}.tsv")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{head}{seconds}\t0:00:01\t{peak}\t1.0\n")


def of(out):
    found = run_cost(out, out.joinpath(*RUN))
    require(RunCost, found)
    return found


def test_a_run_took_the_time_of_all_its_jobs_and_the_memory_of_the_largest(out):
    assert of(out) == {
        "training": {"minutes": 1.5, "gigabytes": 1.049, "why": ""},  # 1000 × 2²⁰ bytes
        "analysis": {"minutes": 1, "gigabytes": 2.097, "why": ""},
    }
    write_costs(out, [out.joinpath(*RUN)])
    assert script_data(out / names.COSTS) == {
        "/".join([*RUN, "dashboard/index.html"]): of(out),
    }


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"trained_by": "other-55555555"}, run_costs.OTHER),
        ({"checkpoint": "hf://a/b/c@main"}, run_costs.ELSEWHERE),
        ({"seconds": 91.0}, run_costs.PARTLY),
        ({"seconds": "80"}, run_costs.UNTOLD),
        ({"seconds": True}, run_costs.UNTOLD),
        # 90 s of 1,000 examples don't make 70,000 if a second has 700.
        ({"examples_per_second": 700.0}, run_costs.PARTLY),
        ({"examples_per_second": None}, ""),
    ],
)
def test_what_was_measured_of_another_job_says_nothing_of_the_training(out, changed, why):
    folder = out.joinpath(*RUN).parent
    kept = {"seconds": 80.0, "trained_by": RUN[2], "examples_per_second": 1000.0}
    write_json(folder / "run.json", {**kept, **changed})
    assert of(out)["training"]["why"] == why
    assert (of(out)["training"]["minutes"] is None) == bool(why)


def test_one_missing_part_leaves_the_analysis_unknown(out):
    path = out.parent.joinpath("logs", *RUN, "analyze_shards-00001.tsv")
    path.unlink()
    assert of(out)["analysis"] == {"minutes": None, "gigabytes": None, "why": run_costs.UNMEASURED}
    assert of(out)["training"]["minutes"] == 1.5


def test_a_job_too_short_for_its_memory_to_be_seen_still_has_a_time(out):
    measure(out, "cls-33333333/train_sae", 90, "NA")
    assert of(out)["training"] == {"minutes": 1.5, "gigabytes": None, "why": run_costs.SHORT}


@pytest.mark.parametrize("text", ["", HEAD, f"{HEAD}nan\t\t1\t1\n", f"{HEAD}-1\t\t1\t1\n", "\0"])
def test_damaged_measurements_are_no_measurements(out, text):
    path = out.parent.joinpath("logs", *RUN[:3], "train_sae.tsv")
    path.write_text(text)
    assert measured(out, out.joinpath(*RUN[:3]), "train_sae") is None
    path.write_bytes(b"\xff\xfe")
    assert of(out)["training"]["why"] == run_costs.UNMEASURED


def test_results_without_logs_or_records_have_reasons_in_place_of_costs(tmp_path):
    (tmp_path / "results").mkdir()
    found = of(tmp_path / "results")
    assert {one["why"] for one in found.values()} == {run_costs.UNMEASURED}
