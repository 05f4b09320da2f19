"""What jobs read from the plan besides their `--spec`. It can't change a result."""

from pathlib import Path
from typing import Any

from saev.core.errors import UserError
from saev.core.plan_file import read_plan
from saev.settings.compute import ComputeSettings


def compute() -> ComputeSettings:
    """Settings of the machine. Without a plan (a stage run by hand) they are neutral."""
    given = read_plan().get("compute", {})
    known = {name: given[name] for name in ComputeSettings.model_fields if name in given}
    return ComputeSettings(**known)


def on_cluster() -> bool:
    """Whether a scheduler runs the jobs of this run, with limits of its own."""
    return "cluster" in read_plan().get("compute", {})


def together() -> dict[str, Any]:
    """Groups of dictionaries to train in one pass, by ``images/vit``."""
    return read_plan().get("compute", {}).get("together", {})


def analyses(results: Path) -> list[Path]:
    """Directories of all analyses of this run. A command line has no room for thousands of them.

    Raises:
        UserError: there is no plan.
    """
    levels = ("images", "vit", "sae", "analysis")
    runs = read_plan().get("runs", ())
    if not runs:
        raise UserError("there is no plan that names the runs: give --runs")
    return list(dict.fromkeys(results.joinpath(*(run[kind] for kind in levels)) for run in runs))


def loose(kind: str, name: str) -> dict[str, Any]:
    """Settings of a component that no digest includes; empty without a plan.

    Args:
        kind: ``images``, ``vit``, ``sae`` or ``analysis``.
        name: name of its directory.
    """
    return _known(kind, name).get("loose", {})


def notes(name: str) -> dict[str, Any]:
    """What the plan counted while it listed images, by the name of their directory."""
    return _known("images", name).get("notes", {})


def _known(kind: str, name: str) -> dict[str, Any]:
    return read_plan().get("components", {}).get(kind, {}).get(name, {})
