"""Records of what jobs made: ``.<job>.made`` beside each result, with the SHA-256 of every file.

With them, saev can check small files that nothing else describes, above all `meta.json`.
"""

from pathlib import Path
from typing import Any

from saev.core.errors import UserError
from saev.core.files import read_json, sha256_file

DONE, MADE = ".done", ".made"


def rule_of(path: Path) -> str:
    """The rule that a stamp or a record is of."""
    return path.stem.removeprefix(".").partition("-")[0]


def read_made(path: Path) -> dict[str, Any]:
    """Read a record; empty if it is missing or damaged, so that the files can't be checked."""
    try:
        made = read_json(path)
    except UserError:
        return {}
    whole = isinstance(made, dict) and {"key", "plan", "files"} <= made.keys()
    return (
        made
        if whole and isinstance(made["files"], list) and all(map(_is_entry, made["files"]))
        else {}
    )


def _is_entry(entry: Any) -> bool:
    """Whether something describes a file, as `file_entry` does, or only names it."""
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("name"), str)
        and ("sha256" not in entry or isinstance(entry.get("bytes"), int))
    )


def recorded(folder: Path, pattern: str = f".*[!0-9]{MADE}") -> dict[str, str]:
    """SHA-256 of each file that jobs made in ``folder``, by file name.

    Args:
        folder: directory of a result.
        pattern: glob pattern of the records to read. The default skips those of shards and parts.
    """
    found = {}
    for path in sorted(folder.glob(pattern)):
        for entry in read_made(path).get("files", ()):
            if "sha256" in entry and "files" not in entry:
                found[entry["name"]] = entry["sha256"]
    return found


def require_as_made(folder: str | Path, name: str) -> None:
    """Check that a file is as a job made it. A file without a record passes.

    Raises:
        UserError: its SHA-256 differs from the recorded one.
    """
    known = recorded(Path(folder)).get(name)
    if known is not None and sha256_file(Path(folder) / name) != known:
        raise UserError(
            f"{Path(folder) / name} was altered after it was written: restore it, or remove it and "
            f"run again"
        )
