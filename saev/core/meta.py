"""`meta.json`, which describes what a stage made, and `run.json`, which says when, where and how.

A stage writes `meta.json` last. It depends only on settings, inputs and results: the same work
gives the same bytes on any day and machine. Everything else goes to `run.json` beside it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from saev.core.errors import UserError, listed
from saev.core.files import (
    file_entry,
    folder_entry,
    read_json,
    sha256_bytes,
    sha256_file,
    to_json,
    write_bytes,
)
from saev.core.made import require_as_made

FORMAT_VERSION = 1
META, RUN = "meta.json", "run.json"


def write_meta(
    folder: str | Path,
    *,
    stage: str,
    name: str,
    settings: dict[str, Any],
    inputs: dict[str, str],
    summary: dict[str, Any],
    files: list[str | dict[str, Any]],
    plots: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Write ``meta.json`` of ``folder``, which marks the stage as complete.

    Args:
        folder: the stage's directory.
        stage: name of the stage (``train``).
        name: the directory's own name (``cls-1a2b3c4d``).
        settings: the settings it was made with.
        inputs: SHA-256 of each upstream ``meta.json``, by stage.
        summary: metrics of the result.
        files: names of files in ``folder``, or finished entries.
        plots: names of plots. Only their names are written: how they look isn't a result.

    Returns:
        the entries of all files, including ``meta.json``.

    Raises:
        ValueError: a metric is NaN or infinite.
    """
    folder = Path(folder)
    entries = [f if isinstance(f, dict) else file_entry(folder / f, f) for f in files]
    entries += [{"name": plot} for plot in plots]
    meta = {
        "format_version": FORMAT_VERSION,
        "stage": stage,
        "name": name,
        "settings": settings,
        "inputs": inputs,
        "summary": summary,
        "files": entries,
    }
    write_bytes(folder / META, to_json(meta))
    return [*entries, file_entry(folder / META)]


def read_meta(folder: str | Path, stage: str) -> tuple[dict[str, Any], str]:
    """Read ``meta.json`` of ``folder``.

    Returns:
        its content, and the SHA-256 of its bytes.

    Raises:
        UserError: it is missing, was altered, or has another stage or a newer format.
    """
    path = Path(folder) / META
    meta = read_json(path)
    if not isinstance(meta, dict) or meta.get("stage") != stage:
        found = meta.get("stage") if isinstance(meta, dict) else type(meta).__name__
        raise UserError(f"{path} describes {found!r}, not the result of the stage {stage!r}")
    if meta["format_version"] > FORMAT_VERSION:
        raise UserError(
            f"{path} has format {meta['format_version']}; this saev reads up to {FORMAT_VERSION}: "
            f"use a newer saev"
        )
    require_as_made(folder, META)
    return meta, sha256_bytes(path.read_bytes())


def matches_sha256(path: Path, sha256: str) -> bool:
    """Whether a file has this SHA-256."""
    return sha256_file(path) == sha256


def altered_files(
    folder: str | Path,
    entries: list[dict[str, Any]],
    deep: bool,
    matches: Callable[[Path, str], bool] = matches_sha256,
) -> list[str]:
    """Compare files with what ``meta.json`` says about them.

    Args:
        folder: the stage's directory.
        entries: ``files`` of its ``meta.json``. Patterns (``shards/*.json``) are skipped.
        deep: compare SHA-256 too, not only sizes.
        matches: tells whether a file has a SHA-256.

    Returns:
        one line for each file that is missing or differs.
    """
    problems = []
    for entry in entries:
        path = Path(folder) / entry["name"]
        if "*" in entry["name"]:
            continue
        if "files" in entry:
            found = [p.stat().st_size for p in path.rglob("*") if p.is_file()]
            if len(found) != entry["files"] or sum(found) != entry["bytes"]:
                problems.append(
                    f"{path} holds {len(found):,} files of {sum(found):,} bytes, not "
                    f"{entry['files']:,} of {entry['bytes']:,}"
                )
            elif deep and folder_entry(folder, entry["name"]) != entry:
                problems.append(f"files in {path} were changed after they were written")
        elif not path.is_file():
            problems.append(f"{path} is missing")
        elif "sha256" not in entry:
            continue
        elif path.stat().st_size != entry["bytes"]:
            problems.append(f"{path} has {path.stat().st_size:,} bytes, not {entry['bytes']:,}")
        elif deep and not matches(path, entry["sha256"]):
            problems.append(f"{path} has another SHA-256 than when it was written")
    return problems


class WholeFiles:
    """Files of a result, checked by SHA-256 when they are first read.

    Args:
        folder: the stage's directory.
        files: ``files`` of its `meta.json`.

    Raises:
        UserError: one is missing or has another size.
    """

    def __init__(self, folder: Path, files: list[dict[str, Any]]) -> None:
        self.folder, self.files = folder, files
        self._whole: set[str] = set()
        problems = altered_files(folder, files, deep=False)
        if problems:
            raise UserError(
                listed(problems, f"{folder} was changed after it was written:")
                + "\nRemove it and run again."
            )

    def path(self, name: str) -> Path:
        """Where a file lies.

        Raises:
            UserError: its SHA-256 isn't the recorded one.
        """
        if name not in self._whole:
            require_unaltered(self.folder, [one for one in self.files if one["name"] == name])
            self._whole.add(name)
        return self.folder / name


def require_unaltered(folder: str | Path, entries: list[dict[str, Any]]) -> None:
    """Raise a UserError that names each file whose size or SHA-256 differs from ``meta.json``."""
    problems = altered_files(folder, entries, deep=True)
    if problems:
        raise UserError(
            listed(problems, f"{folder} was altered after it was written:")
            + "\nRemove these files and run again, or restore them."
        )
