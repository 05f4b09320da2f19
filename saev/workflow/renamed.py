"""Finds results under the former name of an entry, which would else be made again."""

from pathlib import Path

from saev.core.meta import META
from saev.workflow.plan import Plan
from saev.workflow.stages import LEVELS

DIGEST = len("-1a2b3c4d")


def renamed(plan: Plan) -> list[str]:
    """What to say about directories that are missing, each beside one of the same settings that no
    run uses."""
    used = {run[level] for run in plan.runs for level in LEVELS}
    missing: dict[Path, Path] = {}
    for run in plan.runs:
        folder = Path(plan.results)
        for level in LEVELS:
            wanted = folder / run[level]
            if not wanted.exists():
                missing[wanted] = folder
                break
            folder = wanted
    said = []
    for wanted, folder in missing.items():
        alike = sorted(folder.glob(f"*{wanted.name[-DIGEST:]}"))
        former = [path for path in alike if path.name not in used and (path / META).is_file()]
        if former:
            said.append(
                f"{former[0]} has the settings of {wanted.name}. If you renamed the entry, rename "
                f"this directory too, and nothing in it is made again: mv {former[0]} {wanted}"
            )
    return said
