"""`meta.json` and `run.json`: what a stage has made, and under which circumstances.

`meta.json` is written last and is a pure function of settings, inputs and results: the same work gives
the same bytes on any day and machine. Everything that isn't goes to `run.json` beside it.
"""

from pathlib import Path
from typing import Any

from saev.errors import UserError, listed
from saev.files import file_entry, folder_entry, read_json, sha256_bytes, to_json, write_bytes

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
) -> None:
    """Write ``meta.json`` of ``folder``, which says that the stage is complete.

    Args:
        folder: the stage's directory.
        stage: name of the stage (``train``).
        name: the directory's own name (``cls-1a2b3c4d``).
        settings: settings that made it.
        inputs: SHA-256 of each upstream ``meta.json``, by stage.
        summary: figures of the result.
        files: names of files in ``folder`` to describe, or entries made already.

    Raises:
        ValueError: a figure is NaN or infinite.
    """
    folder = Path(folder)
    entries = [f if isinstance(f, dict) else file_entry(folder / f, f) for f in files]
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


def read_meta(folder: str | Path, stage: str) -> tuple[dict[str, Any], str]:
    """Read ``meta.json`` of ``folder``.

    Returns:
        its content, and the SHA-256 of its bytes.

    Raises:
        UserError: it is missing, of another stage, or of a newer format.
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
    return meta, sha256_bytes(path.read_bytes())


def altered_files(folder: str | Path, entries: list[dict[str, Any]], deep: bool) -> list[str]:
    """Compare files with what ``meta.json`` says of them.

    Args:
        folder: the stage's directory.
        entries: ``files`` of its ``meta.json``; a pattern (``shards/*.json``) is passed over.
        deep: compare SHA-256 too, not sizes alone.

    Returns:
        a line for each file that is missing or differs.
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
                problems.append(f"files in {path} have other contents than when they were written")
        elif not path.is_file():
            problems.append(f"{path} is missing")
        elif path.stat().st_size != entry["bytes"]:
            problems.append(f"{path} has {path.stat().st_size:,} bytes, not {entry['bytes']:,}")
        elif deep and file_entry(path)["sha256"] != entry["sha256"]:
            problems.append(f"{path} has another SHA-256 than when it was written")
    return problems


def require_unaltered(folder: str | Path, entries: list[dict[str, Any]]) -> None:
    """Raise UserError, naming each, if a file isn't what ``meta.json`` says (sizes and SHA-256)."""
    problems = altered_files(folder, entries, deep=True)
    if problems:
        raise UserError(
            listed(problems, f"{folder} was altered after it was written:")
            + "\nRemove that folder and run again, or bring the files back."
        )
