"""Sweeps: an entry of `sae` with `sweep:` stands for many dictionaries. Each becomes an ordinary
entry.

sae: {cls: {…, sweep: {k: [16, 32], lr: [0.001, 0.0003]}}}             every combination
sae: {cls: {…, sweep: {small: {k: 16}, big: {k: 64, lr: 0.0003}}}}     points with names
"""

import itertools
import re
from typing import Any

from saev.core.errors import UserError, listed
from saev.settings.elsewhere import ENTRIES
from saev.settings.near import nearest

SWEEP = "sweep"
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
"""Allowed names of entries, and of points of a sweep."""
KEYS = (
    "preset",
    *dict.fromkeys(key for kind in ENTRIES for key in kind.model_fields),
)
"""Keys that a sweep may vary. Each point is checked for keys that its architecture doesn't use."""


def expand(raw: dict[str, Any]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Write out the points of every sweep.

    Args:
        raw: settings as read from YAML. Entries may name presets; the sweep overrides them, as the
            entry does.

    Returns:
        the settings, with one entry per point in place of the swept entry; and the names of the
        points, by the name of the swept entry.

    Raises:
        UserError: lists every problem of every sweep.
    """
    entries = raw.get("sae")
    if not isinstance(entries, dict):
        return raw, {}
    problems: list[str] = []
    points: dict[str, list[str]] = {}
    written: dict[str, Any] = {
        name: entry
        for name, entry in entries.items()
        if not (isinstance(entry, dict) and SWEEP in entry)
    }
    in_order: dict[str, Any] = {}
    for name, entry in entries.items():
        if name in written:
            in_order[name] = entry
            continue
        own = {key: value for key, value in entry.items() if key != SWEEP}
        found = _checked(f"sae.{name}.{SWEEP}", entry[SWEEP], own, problems)
        points[name] = []
        for suffix, values in found:
            point = f"{name}.{suffix}"
            if not re.match(NAME_PATTERN, point):
                problems.append(
                    f"sae.{name}.{SWEEP}: {point!r} is not a valid name for a point; allowed: at "
                    f"most 64 letters, digits, _ . and -. Shorten {name!r}, or name the points: "
                    f"{SWEEP}: {{NAME: {{KEY: VALUE}}}}"
                )
            elif point in in_order or point in written:
                problems.append(
                    f"sae.{name}.{SWEEP}: there are two entries called {point!r}: rename one, or "
                    f"remove the duplicate value"
                )
            points[name].append(point)
            in_order[point] = {**own, **values}
    if problems:
        raise UserError(listed(problems, "the settings have problems:"))
    return {**raw, "sae": in_order}, points


def _checked(
    where: str, sweep: Any, own: dict[str, Any], problems: list[str]
) -> list[tuple[str, dict[str, Any]]]:
    """Suffix and values of each point of one sweep. Adds problems to ``problems``."""
    before = len(problems)
    if not isinstance(sweep, dict) or not sweep:
        problems.append(
            f"{where}: {sweep!r}: give a list of values for each key ({{k: [16, 32]}}), or named "
            f"points ({{small: {{k: 16}}, big: {{k: 32}}}})"
        )
        return []
    named = all(isinstance(value, dict) for value in sweep.values())
    for name, value in sweep.items():
        here = f"{where}.{name}"
        if named:
            for key in value:
                _check_key(f"{here}.{key}", key, own, problems)
        elif isinstance(value, dict):
            problems.append(
                f"{here}: is a mapping, but other keys have lists. A sweep is a grid (a list for "
                f"each key) or named points (a mapping for each), not both"
            )
        else:
            _check_key(here, name, own, problems)
            if not isinstance(value, list) or not value:
                problems.append(f"{here}: {value!r}: give a list with at least one value")
    if len(problems) > before:
        return []
    if named:
        return [(str(name), values) for name, values in sweep.items()]
    combinations = itertools.product(*sweep.values())
    grid = [dict(zip(sweep, values, strict=True)) for values in combinations]
    return [(".".join(f"{k}-{_text(v)}" for k, v in point.items()), point) for point in grid]


def _check_key(where: str, key: Any, own: dict[str, Any], problems: list[str]) -> None:
    if key not in KEYS:
        problems.append(f"{where}: unknown key{nearest(str(key), list(KEYS))}")
    elif key in own:
        problems.append(
            f"{where}: {key} is also given in the entry itself ({own[key]!r}): keep only one"
        )


def _text(value: Any) -> str:
    """Write a value as part of a name."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, (list, tuple)):
        return "_".join(map(_text, value))
    return re.sub(r"[^A-Za-z0-9_.-]", "_", str(value))
