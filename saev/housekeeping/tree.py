"""The directories under `results/`: which are saev's, what lies in each, what their `meta.json` says."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from saev.artifacts.meta import META
from saev.errors import UserError
from saev.files import read_json
from saev.stage import STATE

LEVELS = ("images", "vit", "sae", "analysis")
STAGES = ("images", "activations", "train", "analyze")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*-[0-9a-f]{8}")
OWN = tuple(
    re.compile(pattern)
    for pattern in (
        r"manifest\.parquet",
        r"layer-\d+\.(cls|patches)|pooled|rows|shards|records|stats|runs|images\.parquet|stats\.safetensors",
        r"checkpoint\.safetensors|train\.jsonl|curves\.png|references",
        r"labels\.parquet|latents\.safetensors|latents\.parquet|parts|dashboard",
    )
)
"""What a stage writes into a directory of each level."""
SHARED = re.compile(r"meta\.json|run\.json|\.state")
TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d+)\.[0-9a-f]{8}\.tmp")


def children(folder: Path) -> list[Path]:
    """Folders in ``folder`` that are called as saev calls its own, sorted; symbolic links too."""
    return sorted(p for p in folder.iterdir() if NAME.fullmatch(p.name) and p.is_dir())


def own(name: str, level: int) -> bool:
    """Whether saev writes something called ``name`` into directories of ``level``."""
    known = (SHARED, OWN[level], TEMPORARY)
    return any(pattern.fullmatch(name) for pattern in known)


def recognised(folder: Path, level: int) -> bool:
    """Whether ``folder`` was made by saev at this level: by its name, and by what it says or holds.

    A folder that a person has renamed or put there isn't, even if its name looks like ours.
    """
    if folder.is_symlink() or not folder.is_dir() or not NAME.fullmatch(folder.name):
        return False
    try:
        meta = json.loads((folder / META).read_bytes())
    except (OSError, ValueError):
        meta = None
    if isinstance(meta, dict) and "stage" in meta:
        return (meta["stage"], meta.get("name")) == (STAGES[level], folder.name)
    if any(OWN[level].fullmatch(p.name) for p in folder.iterdir()) or (folder / STATE).is_dir():
        return True
    return level + 1 < len(LEVELS) and any(recognised(p, level + 1) for p in children(folder))


def contents(folder: Path, level: int) -> Iterator[Path]:
    """Yield what is saev's in a directory: files before the folders that hold them, itself last.

    ``meta.json`` comes first, so that a directory is incomplete from the moment its removal begins.
    Symbolic links, and what saev didn't make, are passed over.
    """
    for path in sorted(folder.iterdir(), key=lambda p: (p.name != META, p.name)):
        if path.is_symlink():
            continue
        if own(path.name, level):
            yield from everything(path)
        elif level + 1 < len(LEVELS) and recognised(path, level + 1):
            yield from contents(path, level + 1)
    yield folder


def everything(path: Path) -> Iterator[Path]:
    """Yield all files and folders under ``path`` (links excepted), those within a folder before it."""
    if path.is_symlink():
        return
    if path.is_dir():
        for inner in sorted(path.iterdir()):
            yield from everything(inner)
    yield path


def bytes_of(paths: Iterator[Path] | list[Path]) -> int:
    """Sum of the sizes of those of ``paths`` that are files."""
    return sum(path.stat().st_size for path in paths if path.is_file())


def own_bytes(folder: Path, level: int) -> int:
    """Size of what lies in a directory, without the directories of later stages in it."""
    inner = set(children(folder)) if level + 1 < len(LEVELS) else set()
    return sum(bytes_of(everything(p)) for p in folder.iterdir() if p not in inner)


def read(folder: Path, stage: str | None = None) -> dict[str, Any]:
    """Read the `meta.json` of a directory.

    Raises:
        UserError: there is none, or it isn't one.
    """
    meta = read_json(folder / META)
    kinds = {"stage": str, "settings": dict, "inputs": dict, "summary": dict, "files": list}
    whole = isinstance(meta, dict) and all(isinstance(meta.get(k), t) for k, t in kinds.items())
    if not whole or not all({"name", "sha256"} <= set(entry) for entry in meta["files"]):
        raise UserError(f"{folder / META} doesn't describe a result: remove {folder} and run again")
    if stage not in (None, meta["stage"]):
        raise UserError(f"{folder} is a result of the stage {meta['stage']}, not of {stage}")
    return meta


def existing(results: str) -> Path:
    """The folder of results.

    Raises:
        UserError: it isn't there.
    """
    if not Path(results).is_dir():
        raise UserError(f"there is no folder {results}: nothing was made here yet")
    return Path(results)
