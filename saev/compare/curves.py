"""Compares two curves: which figures deviate, where, and by how much."""

import json
from pathlib import Path
from typing import Any

from saev.core.errors import UserError
from saev.settings.references import ReferenceSettings

Lines = dict[int, dict[str, Any]]
"""Lines of a `train.jsonl` by step."""


def read_curve(path: Path) -> Lines:
    """Read the lines of a `train.jsonl`, by step.

    Raises:
        UserError: it is missing, or a line isn't an object with a step (the message says which).
    """
    if not path.is_file():
        raise UserError(f"references: there is no curve {path}")
    found: Lines = {}
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            line = json.loads(text)
            found[int(line["step"])] = line
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}, line {number} isn't an object with a step ({error!r}): name a train.jsonl"
            ) from error
    return found


def compare(ours: Lines, reference: Lines, settings: ReferenceSettings) -> dict[str, Any]:
    """At each step that both curves have, compare the figures that have a tolerance.

    Returns:
        ``agrees``, and for each figure: ``tolerance``; ``n_steps``, how many were compared;
        ``largest``, the largest deviation (as a share of the reference's value) and its ``step``;
        ``first_step_out`` of tolerance, or None.

    Raises:
        UserError: there is no step at which both curves have a figure.
    """
    figures: dict[str, Any] = {}
    for name, tolerance in settings.tolerance.items():
        pairs = [
            (step, float(ours[step][name]), float(reference[step][name]))
            for step in sorted(ours.keys() & reference.keys())
            if step >= settings.from_step
            and ours[step].get(name) is not None
            and reference[step].get(name) is not None
        ]
        if not pairs:
            raise UserError(
                f"references: there is no step at which both curves have {name!r}. The run has "
                f"{_held(ours)}; {settings.curve} has {_held(reference)}"
            )
        off = [(step, abs(a - b) / abs(b) if b else float(a != b)) for step, a, b in pairs]
        step, largest = max(off, key=lambda item: item[1])
        out = [step for step, deviation in off if deviation > tolerance]
        figures[name] = {
            "tolerance": tolerance,
            "n_steps": len(pairs),
            "largest": largest,
            "step": step,
            "first_step_out": out[0] if out else None,
        }
    agrees = all(figure["first_step_out"] is None for figure in figures.values())
    return {"agrees": agrees, "figures": figures}


def _held(lines: Lines) -> str:
    names = sorted({name for line in lines.values() for name in line if line[name] is not None})
    steps = f"steps {min(lines)} to {max(lines)}" if lines else "no steps"
    return f"{steps} with {', '.join(names) or 'nothing'}"


def sentence(verdict: dict[str, Any]) -> str:
    """A verdict in words."""
    what = "follows" if verdict["agrees"] else "doesn't follow"
    parts = [f"{verdict['curve']} {what} {verdict['reference']}:"]
    for name, found in verdict["figures"].items():
        within = (
            f"within {found['tolerance']:.3g}"
            if found["first_step_out"] is None
            else f"outside {found['tolerance']:.3g} from step {found['first_step_out']}"
        )
        parts.append(
            f"  {name}: {within}, at most {found['largest']:.3g} off (step {found['step']}), "
            f"{found['n_steps']} steps"
        )
    return "\n".join(parts)
