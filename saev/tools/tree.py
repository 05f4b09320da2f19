"""The directories under `results/`: which are saev's, and what they contain."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from saev.analyze.artifact import labels_of
from saev.core.errors import UserError
from saev.core.files import read_json
from saev.core.meta import META, RUN
from saev.core.state import STATE
from saev.evaluate import artifact as evaluate
from saev.labels import artifact as labels
from saev.workflow.stages import BY_NAME, LEVELS, maker_of, of_level

LABELS = len(LEVELS)
"""Stands for the level of labels, which lie in a folder of their images."""
EVALUATIONS = LABELS + 1
"""Stands for the level of evaluations, which lie in a folder of their analysis."""
APART = {0: LABELS, len(LEVELS) - 1: EVALUATIONS}
"""Kinds of directories that lie in a folder of a directory, by the level of that."""
FOLDERS = {LABELS: labels.FOLDER, EVALUATIONS: evaluate.FOLDER}
KINDS = (*LEVELS, labels.STAGE, "evaluation")
"""Kinds of directories, by level."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*-[0-9a-f]{8}")
LABELS_NAME = re.compile(r"[0-9a-f]{8}")
SHARED = (META, RUN, STATE)
TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d+)\.[0-9a-f]{8}\.tmp")


def written(level: int) -> tuple[str, ...]:
    """Patterns of what stages write directly into a directory of a level."""
    if level in FOLDERS:
        return BY_NAME[STAGES[level]].own
    patterns: list[str] = []
    for stage in of_level(level):
        patterns += [stage.inside.split("/")[0]] if stage.inside else stage.own
    return tuple(patterns)


STAGES = (*(maker_of(level).name for level in range(len(LEVELS))), labels.STAGE, evaluate.STAGE)
"""The stage of the directories of each level."""
OWN = tuple(written(level) for level in range(len(KINDS)))


def children(folder: Path) -> list[Path]:
    """Folders in ``folder`` whose names have saev's form, sorted; includes symbolic links."""
    return sorted(p for p in folder.iterdir() if NAME.fullmatch(p.name) and p.is_dir())


def apart(folder: Path, level: int) -> list[Path]:
    """Directories that lie in a folder of a directory of ``level``, sorted; includes links."""
    kind = APART.get(level)
    inner = folder / FOLDERS[kind] if kind is not None else folder
    if kind is None or inner.is_symlink() or not inner.is_dir():
        return []
    return sorted(p for p in inner.iterdir() if _name(kind).fullmatch(p.name) and p.is_dir())


def _name(level: int) -> re.Pattern[str]:
    return LABELS_NAME if level == LABELS else NAME


def users_of_labels(results: Path) -> dict[Path, list[Path]]:
    """The analyses that were made from each directory of labels, whether it is there or not."""
    found: dict[Path, list[Path]] = {}
    for path in sorted(results.glob(f"{'*/' * len(LEVELS)}{META}")):
        with suppress(UserError, KeyError, TypeError):  # settings that nobody wrote as they are
            meta = read(path.parent, STAGES[len(LEVELS) - 1])
            if labels.STAGE in meta["inputs"]:
                used = labels_of(path.parent, meta["settings"])
                found.setdefault(used, []).append(path.parent)
    return found


def own(name: str, level: int) -> bool:
    """Whether saev writes something with this name into directories of ``level``."""
    return bool(TEMPORARY.fullmatch(name)) or name in SHARED or _written(name, level)


def _written(name: str, level: int) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in OWN[level])


def recognised(folder: Path, level: int) -> bool:
    """Whether saev made ``folder`` at this level, judged by its name, `meta.json` and contents.

    A folder that a person renamed or added doesn't count, even if its name has saev's form.
    """
    if folder.is_symlink() or not folder.is_dir() or not _name(level).fullmatch(folder.name):
        return False
    try:
        meta = json.loads((folder / META).read_bytes())
    except (OSError, ValueError):
        meta = None
    if isinstance(meta, dict) and "stage" in meta:
        return (meta["stage"], meta.get("name")) == (STAGES[level], folder.name)
    if any(_written(p.name, level) for p in folder.iterdir()) or (folder / STATE).is_dir():
        return True
    return level + 1 < len(LEVELS) and any(recognised(p, level + 1) for p in children(folder))


def contents(folder: Path, level: int) -> Iterator[Path]:
    """Yield what saev made in a directory: files before their folders, the directory itself last.

    ``meta.json`` comes first, so that a directory counts as incomplete once its removal has begun.
    Skips symbolic links and what saev didn't make.
    """
    for path in sorted(folder.iterdir(), key=lambda p: (p.name != META, p.name)):
        if path.is_symlink():
            continue
        kind = APART.get(level)
        if kind is not None and path.name == FOLDERS[kind]:
            for inner in apart(folder, level):
                if recognised(inner, kind):
                    yield from contents(inner, kind)
            yield path
        elif own(path.name, level):
            yield from everything(path)
        elif level + 1 < len(LEVELS) and recognised(path, level + 1):
            yield from contents(path, level + 1)
    yield folder


def everything(path: Path) -> Iterator[Path]:
    """Yield all files and folders under ``path`` except links, contents before their folder."""
    if path.is_symlink():
        return
    if path.is_dir():
        for inner in sorted(path.iterdir()):
            yield from everything(inner)
    yield path


def bytes_of(paths: Iterator[Path] | list[Path]) -> int:
    """Total size of the files among ``paths``."""
    return sum(path.stat().st_size for path in paths if path.is_file())


def own_bytes(folder: Path, level: int) -> int:
    """Size of a directory without the directories of later stages in it."""
    inner = set(children(folder)) if level + 1 < len(LEVELS) else set()
    size = sum(bytes_of(everything(p)) for p in folder.iterdir() if p not in inner)
    return size - sum(bytes_of(everything(p)) for p in apart(folder, level))


def read(folder: Path, stage: str | None = None) -> dict[str, Any]:
    """Read the `meta.json` of a directory.

    Raises:
        UserError: it is missing or doesn't describe a result.
    """
    meta = read_json(folder / META)
    kinds = {"stage": str, "settings": dict, "inputs": dict, "summary": dict, "files": list}
    whole = isinstance(meta, dict) and all(isinstance(meta.get(k), t) for k, t in kinds.items())
    if not whole or not all(isinstance(e, dict) and "name" in e for e in meta["files"]):
        raise UserError(f"{folder / META} doesn't describe a result: remove {folder} and run again")
    if stage not in (None, meta["stage"]):
        raise UserError(f"{folder} is a result of the stage {meta['stage']}, not of {stage}")
    return meta


def existing(results: str) -> Path:
    """The folder of results.

    Raises:
        UserError: it doesn't exist.
    """
    if not Path(results).is_dir():
        raise UserError(f"there is no folder {results}: nothing has been made here yet")
    return Path(results)
