"""What Snakemake measured of each job: the `.tsv` files of `benchmark:`, under `logs/`."""

import csv
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

from saev.core.errors import UserError
from saev.core.files import read_json
from saev.core.meta import RUN

LOGS = "logs"
"""Folder beside the results."""


class TimedJob(NamedTuple):
    """What a job took, with the start of Python."""

    seconds: float
    peak_mb: float | None
    """Most memory that it and its programs held; None if it was over before anybody looked."""


def measured(results: Path, folder: Path, job: str) -> TimedJob | None:
    """What Snakemake measured of a job; None if its file is missing or damaged.

    A job that finds its result whole is measured too: compare with `told`.

    Args:
        results: the folder of results; folder: directory of the job's result.
        job: its rule, with the number of its shard or part.
    """
    path = results.parent / LOGS / os.path.relpath(folder, results) / f"{job}.tsv"
    try:
        with path.open(newline="") as file:
            row = next(csv.DictReader(file, delimiter="\t"))
    except (OSError, ValueError, csv.Error, StopIteration):
        return None
    seconds = _number(row.get("s"))
    return None if seconds is None else TimedJob(seconds, _number(row.get("max_rss")))


def told(folder: Path) -> dict[str, Any]:
    """The `run.json` of a result; empty if it is missing or damaged."""
    try:
        run = read_json(folder / RUN)
    except UserError:
        return {}
    return run if isinstance(run, dict) else {}


def _number(text: Any) -> float | None:
    try:
        number = float(text)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number >= 0 else None
