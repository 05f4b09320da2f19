"""What runs took: minutes and memory, which the gallery shows beside their figures.

That is no result: it differs although the results are the same. So it lies in a script of its own
beside the page, and only what was measured of the job that made the result counts.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, TypeGuard

from saev.analyze.artifact import PARTS, part_folder
from saev.core.benchmark_files import TimedJob, measured, told
from saev.core.errors import UserError
from saev.core.files import read_json, write_bytes
from saev.core.meta import META
from saev.dashboard import artifact as names
from saev.dashboard.scripts import rounded, script

MIB = 1 << 20
"""Bytes of what Snakemake calls a megabyte."""
ELSEWHERE = "trained elsewhere, and only converted here"
OTHER = "trained in one pass with other dictionaries, by the job of another one"
UNMEASURED = "nothing is under logs/ that Snakemake measured of the job"
UNTOLD = "no run.json says which job made it"
PARTLY = "the job that Snakemake measured last found the result complete, or resumed it"
SHORT = "the job ended before Snakemake looked at its memory"


class JobCost(TypedDict):
    """What the jobs of a stage took."""

    minutes: float | None
    """Of all its jobs together."""
    gigabytes: float | None
    """Most memory that one of them held."""
    why: str
    """Why a figure is missing; empty if none is."""


class RunCost(TypedDict):
    """What the jobs of a run took."""

    training: JobCost
    analysis: JobCost


class _Job(NamedTuple):
    measured: TimedJob | None
    told: dict[str, Any]


def write_costs(out: Path, runs: Iterable[Path]) -> None:
    """Write what ``runs`` took, by the links to their pages, beside the page of all runs.

    Args:
        out: the folder of results.
        runs: directories of analyses.
    """
    found = {names.link(out, run): run_cost(out, run) for run in runs}
    write_bytes(out / names.COSTS, script("costs", found))


def run_cost(out: Path, run: Path) -> RunCost:
    """What the training and the analysis of a run took.

    Args:
        out: the folder of results; run: directory of the analysis.
    """
    sae = run.parent
    training = _Job(measured(out, sae, "train_sae"), told(sae))
    parts = (int(path.stem) for path in sorted((run / PARTS).glob("[0-9]*.json")))
    analysis = [_Job(measured(out, run, "merge_analysis"), told(run))]
    for part in parts:
        measure = measured(out, run, f"analyze_shards-{part:05}")
        analysis.append(_Job(measure, told(run / part_folder(part))))
    why = _not_here(sae, training) or _whole([training]) or _resumed(sae, training)
    return {"training": _cost([training], why), "analysis": _cost(analysis, _whole(analysis))}


def _not_here(sae: Path, job: _Job) -> str:
    """Why the job of a dictionary isn't what trained it; empty if it is."""
    if "checkpoint" in job.told:
        return ELSEWHERE
    return OTHER if job.told.get("trained_by", sae.name) != sae.name else ""


def _whole(jobs: list[_Job]) -> str:
    """Why what was measured isn't what the results took; empty if it is.

    Work of a second or two can't be told from the start of a job that finds it done.
    """
    for job in jobs:
        seconds = job.told.get("seconds")
        if job.measured is None:
            return UNMEASURED
        if not _is_number(seconds):
            return UNTOLD
        if job.measured.seconds < seconds:
            return PARTLY
    return ""


def _resumed(sae: Path, job: _Job) -> str:
    """Why the job was only the last part of a training: at its rate, the whole takes longer."""
    rate = job.told.get("examples_per_second")
    try:
        examples = read_json(sae / META)["summary"]["examples"]
    except (UserError, KeyError, TypeError):
        return ""
    if not (job.measured and _is_number(rate) and _is_number(examples)):
        return ""
    return PARTLY if rate * job.measured.seconds < examples else ""


def _cost(jobs: list[_Job], why: str) -> JobCost:
    if why:
        return {"minutes": None, "gigabytes": None, "why": why}
    found = [job.measured for job in jobs if job.measured]
    peaks = [one.peak_mb for one in found if one.peak_mb is not None]
    seen = len(peaks) == len(found)
    return {
        "minutes": rounded(sum(one.seconds for one in found) / 60),
        "gigabytes": rounded(max(peaks) * MIB / 1e9) if seen else None,
        "why": "" if seen else SHORT,
    }


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
