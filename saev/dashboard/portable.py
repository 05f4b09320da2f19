"""Views of the gallery as pages that need no other file, for Snakemake's report."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

from saev.dashboard.frontier import frontiers
from saev.dashboard.gallery import described
from saev.dashboard.page import page
from saev.dashboard.structures import Example


def run_page(out: Path, run: Path) -> bytes:
    """A run as the gallery shows it, with the images inside.

    Args:
        out: the folder of results.
        run: directory of its analysis.

    Raises:
        UserError: the run isn't complete.
    """
    listed = described(out, run, current=True)
    for strip in (listed["strips"]["first"], listed["strips"]["drawn"]):
        for example in strip:
            _embed(example, out / listed["pictures"])
    listed["pictures"] = listed["link"] = ""
    return page("gallery", {"runs": [listed], "frontiers": []})


def sweeps_page(out: Path, runs: Sequence[Path], sweeps: Mapping[str, Sequence[str]]) -> bytes:
    """What the gallery says about sweeps.

    Args:
        out: the folder of results.
        runs: directories of analyses.
        sweeps: for each swept entry, the directory names of its points.

    Raises:
        UserError: a run isn't complete.
    """
    listed = [described(out, run, current=True) for run in runs]
    found = frontiers(listed, {entry: list(points) for entry, points in sweeps.items()})
    for frontier in found:
        for point in frontier["points"]:
            point["link"] = ""
    return page("gallery", {"runs": [], "frontiers": found})


def _embed(example: Example, folder: Path) -> None:
    """Put thumbnails themselves in place of their names."""
    example["pictures"] = [
        f"data:image/jpeg;base64,{base64.b64encode((folder / name).read_bytes()).decode()}"
        for name in example["pictures"]
    ]
