"""`saev gc`: finds and removes what the current settings no longer use.

It removes only what saev made, never follows a symbolic link, and removes nothing that the
workflow, or a job left by a killed run, is still using.
"""

import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from saev.analyze.source_labels import labels_name
from saev.core import logs
from saev.core.errors import UserError
from saev.core.locks import ABANDONED_SECONDS, Lock, alive
from saev.core.plan_file import PLANS, groups_name
from saev.core.state import STATE
from saev.dashboard.artifact import FOLDER_NAME
from saev.images.seen import memory_name
from saev.tools import present, texts, tree
from saev.workflow import jobs
from saev.workflow.plan import Plan

KEPT = re.compile(r"((?:seen|labels|groups)\.[0-9a-f]+)(\.[0-9a-f]+)*\.(?:parquet|npy)")
PLAN_FILE = re.compile(r"[0-9a-f]{16}\.json")


class Garbage(NamedTuple):
    """Something that can be removed."""

    path: Path
    why: str
    level: int | None
    """Level of a directory of results; None for other things, which are removed entirely."""
    bytes: int


def run(
    results: Path,
    configfiles: list[str],
    named: list[str] | None,
    agreed: Callable[[str], bool] = lambda question: True,
) -> list[str]:
    """List or remove what the current settings don't use. Return lines to print.

    Other settings may still use a directory of results, so only named directories are removed.

    Args:
        results: the folder of results.
        configfiles: settings files to merge into `config.yaml`.
        named: directories to remove, besides temporary files, states and plans. None only lists.
        agreed: asks the user whether to remove the directories.

    Raises:
        UserError: the settings have problems, a named directory can't be removed, or the workflow
            is running.
    """
    if named is None:
        return _report(results, configfiles, None, agreed)
    lock = Lock(results / ".lock", f"{results}/")
    lock.acquire(on_wait=logs.say)
    try:
        return _report(results, configfiles, named, agreed)
    finally:
        lock.release()


def _chosen(found: list[Garbage], named: list[str], results: Path) -> list[Garbage]:
    """What to remove from ``found``: everything but directories of results, and the named ones."""
    known = {item.path.resolve(): item for item in found if item.level is not None}
    chosen = [item for item in found if item.level is None]
    for name in dict.fromkeys(named):
        places = (Path(name), results / name)
        item = next((known[p.resolve()] for p in places if p.resolve() in known), None)
        if item is None:
            allowed = ", ".join(str(item.path) for item in known.values()) or "nothing"
            raise UserError(f"{name} isn't a directory that can be removed; allowed: {allowed}")
        chosen.append(item)
    return chosen


def _report(
    results: Path, configfiles: list[str], named: list[str] | None, agreed: Callable[[str], bool]
) -> list[str]:
    plan = present.plan(configfiles, str(results))
    found = garbage(results, plan)
    reached = f"{present.described(configfiles)} has {texts.count(len(plan.runs), 'run')}"
    if not found:
        return [f"{reached}, and nothing else is here."]
    text = [f"{reached}. They don't use:", "", *lines(found), ""]
    if named is None:
        total = texts.size(sum(item.bytes for item in found))
        return [
            *text,
            f"{total}. Nothing was removed.",
            "Other settings may still use a directory, so name those to remove: "
            "saev gc --delete DIR …",
        ]
    found = _chosen(found, named, results)
    total = texts.size(sum(item.bytes for item in found))
    text = [*lines(found), ""] if found else []
    directories = [item for item in found if item.level is not None]
    if directories:
        n = texts.count(len(directories), "folder")
        size = texts.size(sum(item.bytes for item in directories))
        question = "\n".join([*lines(directories), "", f"Remove {n} of results, {size}?"])
        if not agreed(question):
            return ["Nothing was removed."]
    kept = remove(found)
    text.append(f"{total} removed.")
    left = [item for item in garbage(results, plan) if item.level is not None]
    if left:
        n = texts.count(len(left), "folder")
        text.append(f"Kept: {n} that other settings may use. To remove one, name it.")
    text += [
        f"kept: {path} contains something that saev didn't make, or a symbolic link"
        for path in kept
    ]
    if any(item.level is not None for item in found):
        text.append(
            f"{results}/index.html still lists what was removed, until the next run of the "
            f"workflow that makes anything. To update it now: saev run --forcerun "
            f"build_gallery"
        )
    return text


def garbage(results: Path, plan: Plan) -> list[Garbage]:
    """Find what ``plan`` doesn't use. Changes nothing."""
    planned = jobs.jobs(plan)
    found = list(_directories(results, results, 0, _reached(plan), planned))
    found += _temporary_files(results)
    return [*found, *_plans(results, plan)]


def remove(found: list[Garbage]) -> list[Path]:
    """Remove all of ``found``.

    Returns:
        folders that stay because they contain a symbolic link or something that saev didn't make.
    """
    kept = []
    for item in found:
        if item.path.is_symlink():
            continue
        level = item.level
        inside = tree.everything(item.path) if level is None else tree.contents(item.path, level)
        kept += [path for path in list(inside) if not _removed(path)]
        if item.path.parent.name == STATE:
            with suppress(OSError):  # another state may still be there
                item.path.parent.rmdir()
    return kept


def _removed(path: Path) -> bool:
    try:
        if not path.is_dir():
            path.unlink(missing_ok=True)
        elif any(path.iterdir()):
            return False
        else:
            path.rmdir()
    except OSError as error:
        raise UserError(f"can't remove {path}: {error.strerror}. Check its permissions") from error
    return True


def _reached(plan: Plan) -> set[Path]:
    """All directories that runs of the plan use, at every level."""
    reached = set()
    for run in plan.runs:
        path = Path(plan.results)
        for level in tree.LEVELS:
            path /= run[level]
            reached.add(path)
        on = Path(plan.results, run["on"])
        reached |= {on, on / run["vit"]}
    return reached


def _directories(
    results: Path, folder: Path, level: int, reached: set[Path], planned: list[jobs.Job]
) -> Iterator[Garbage]:
    for child in tree.children(folder):
        if child.is_symlink():
            continue
        if child not in reached:
            if tree.recognised(child, level) and not _in_use(child, level):
                yield _directory(child, level)
            continue
        for place in (child, child / FOLDER_NAME):
            if jobs.complete(planned, place):
                yield from _states(place)
        yield from _temporary_files(child, deep=level)
        if level + 1 < len(tree.LEVELS):
            yield from _directories(results, child, level + 1, reached, planned)


def _directory(folder: Path, level: int) -> Garbage:
    size = tree.bytes_of(tree.contents(folder, level))
    return Garbage(folder, "no run of these settings uses it", level, size)


def _in_use(folder: Path, level: int) -> bool:
    """Whether a job, such as an orphan of a killed run, still writes into ``folder``."""
    locks = (p for p in tree.contents(folder, level) if p.parent.name == STATE)
    return any(p.suffix == ".lock" and Lock(p, "").held() for p in locks)


def _states(folder: Path) -> Iterator[Garbage]:
    """Unused states and locks in ``folder``, whose result is complete."""
    base = folder / STATE
    if base.is_symlink() or not base.is_dir():
        return
    for path in sorted(base.iterdir()):
        lock = base / f"{path.name.partition('.')[0]}.lock"
        if path.is_symlink() or Lock(lock, "").held():
            continue
        size = tree.bytes_of(tree.everything(path))
        yield Garbage(path, "state of a stopped run; the result is complete", None, size)


def _temporary_files(folder: Path, deep: int | None = None) -> Iterator[Garbage]:
    """Temporary files that killed processes left in ``folder`` and in the folders of its stage."""
    for path in sorted(folder.iterdir()):
        if path.is_symlink():
            continue
        if path.is_file() and _left_over(path):
            why = "temporary file of a process that is gone"
            yield Garbage(path, why, None, path.stat().st_size)
        elif path.is_dir() and (
            path.name == PLANS if deep is None else path.name != STATE and tree.own(path.name, deep)
        ):
            for inner in tree.everything(path):
                if inner.is_file() and _left_over(inner) and STATE not in inner.parts:
                    why = "temporary file of a process that is gone"
                    yield Garbage(inner, why, None, inner.stat().st_size)


def _left_over(path: Path) -> bool:
    found = tree.TEMPORARY.fullmatch(path.name)
    if not found:
        return False
    if found["name"].endswith(f".{socket.gethostname()}"):
        return not alive(int(found["pid"]))
    return time.time() - path.stat().st_mtime > ABANDONED_SECONDS


def _plans(results: Path, plan: Plan) -> Iterator[Garbage]:
    """Plans of other settings or code, and listings of images that no run uses."""
    folder = results / PLANS
    if folder.is_symlink() or not folder.is_dir():
        return
    listings = set(plan.names("images"))
    used = {
        memory_name(name.rpartition("-")[0], plan.component("images", name).get("settings", {}))
        for name in plan.names("images")
    }
    for analysis in plan.names("analysis"):
        resolved = plan.component("analysis", analysis).get("resolved", {}).get("labels", {})
        used |= {labels_name(label["sha256"]) for label in resolved.values()}
    groups = {plan.component("sae", n).get("resolved", {}).get("groups") for n in plan.names("sae")}
    used |= {groups_name(sha256).removesuffix(".npy") for sha256 in groups if sha256}
    present = plan.file_name
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not path.is_file():
            continue
        if PLAN_FILE.fullmatch(path.name) and path.name != present:
            yield Garbage(path, "plan of other settings or code", None, path.stat().st_size)
        named = path.suffix in (".parquet", ".json") and tree.NAME.fullmatch(path.stem)
        if named and path.stem not in listings:
            yield Garbage(path, "listing of images that no run uses", None, path.stat().st_size)
        kept = KEPT.fullmatch(path.name)
        if kept and kept[1] not in used:
            yield Garbage(path, "what an earlier run saw of images", None, path.stat().st_size)


def lines(found: list[Garbage]) -> list[str]:
    """One line for each, with its size and the reason."""
    rows = [[texts.size(item.bytes), str(item.path), item.why] for item in found]
    return texts.table(rows, right={0}) if rows else []
