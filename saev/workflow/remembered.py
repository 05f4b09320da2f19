"""Files in which the workflow remembers answers from one start to the next, with their SHA-256.

A damaged one is forgotten: one flipped bit of a digest would give results another directory, or
make everything anew.
"""

import json
from pathlib import Path
from typing import Any

from saev.core.files import canonical_json, sha256_bytes, to_json, write_bytes


def remembered(path: Path) -> dict[str, Any]:
    """What `remember` wrote; empty if there is nothing, or if it was damaged."""
    try:
        held = json.loads(path.read_bytes())
        known: dict[str, Any] = held["known"]
        return known if held["sha256"] == _digest(known) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def remember(path: Path, known: dict[str, Any]) -> None:
    """Write answers for `remembered`."""
    write_bytes(path, to_json({"known": known, "sha256": _digest(known)}))


def _digest(known: dict[str, Any]) -> str:
    return sha256_bytes(canonical_json(known).encode())
