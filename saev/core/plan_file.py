"""The plan of this run. Snakemake's main process writes it; jobs read it."""

import json
import os
from pathlib import Path
from typing import Any

from saev.core.errors import UserError

PLAN_VARIABLE = "SAEV_PLAN"
PLANS = ".plans"
"""Folder of the results with what the main process found."""


def groups_name(sha256: str) -> str:
    """Name of the file that says which images a split keeps together, by its SHA-256."""
    return f"groups.{sha256[:16]}.npy"


def plan_file() -> Path | None:
    """Path of the plan; None for a stage run by hand."""
    path = os.environ.get(PLAN_VARIABLE)
    return Path(path) if path else None


def read_plan() -> dict[str, Any]:
    """The content of the plan; empty for a stage run by hand.

    Raises:
        UserError: the file is missing, or isn't JSON.
    """
    path = plan_file()
    if path is None:
        return {}
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise UserError(f"${PLAN_VARIABLE} names {path}, which doesn't exist") from error
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}): start the workflow again") from error
