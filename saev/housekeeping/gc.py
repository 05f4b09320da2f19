"""`saev gc`: what the present settings no longer reach, and how it is removed.

Nothing is removed that isn't recognisably saev's, nothing through a symbolic link, and nothing while
the workflow, or a job that a killed run has left, is at work in it.
"""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from saev.errors import UserError
from saev.housekeeping import jobs, settings, texts, tree
from saev.locks import Lock, alive
from saev.plan import Plan
from saev.stage import STATE

PLANS = ".plans"
PLAN_FILE = re.compile(r"[0-9a-f]{16}\.json")
OTHER_HOST_SECONDS = 86_400.0
"""After this time, a temporary file of another host, whose processes can't be seen, is left over."""


class Garbage(NamedTuple):
    """Something that can go."""

    path: Path
    why: str
    level: int | None
    """Of a directory of results; None of what goes with all that it holds."""
    bytes: int


def run(results: Path, configfiles: list[str], delete: bool) -> list[str]:
    """List, or remove, what the present settings don't reach; return lines to print.

    Raises:
        UserError: the settings have problems; or something is to be removed while the workflow runs.
    """
    lock = Lock(results / ".lock", f"{results}/")
    if not delete:
        return _report(results, configfiles, delete)
    lock.acquire()
    try:
        return _report(results, configfiles, delete)
    finally:
        lock.release()


def _report(results: Path, configfiles: list[str], delete: bool) -> list[str]:
    plan = settings.plan(configfiles, str(results))
    found = garbage(results, plan)
    reached = f"{settings.described(configfiles)} reaches {texts.count(len(plan.runs), 'run')}"
    if not found:
        return [f"{reached}, and nothing else is here."]
    total = texts.size(sum(item.bytes for item in found))
    text = [f"{reached}; it doesn't reach:", "", *lines(found), ""]
    if not delete:
        return [
            *text,
            f"{total}. Nothing was removed: saev gc --delete, with the same settings, does.",
        ]
    kept = remove(found)
    text.append(f"{total} removed.")
    text += [f"kept: {path} holds what saev hasn't made, or a symbolic link" for path in kept]
    if any(item.level is not None for item in found):
        text.append(
            f"{results}/index.html is made anew by the next run of the workflow that makes "
            f"anything; until then: snakemake --cores 1 --forcerun build_gallery"
        )
    return text


def garbage(results: Path, plan: Plan) -> list[Garbage]:
    """Find what ``plan`` doesn't reach; nothing is changed."""
    planned = jobs.jobs(plan)
    found = list(_directories(results, results, 0, _reached(plan), planned))
    found += _temporary_files(results)
    return [*found, *_plans(results, plan)]


def remove(found: list[Garbage]) -> list[Path]:
    """Remove all of ``found``.

    Returns:
        folders that stay, as they hold something that isn't saev's, or a symbolic link.
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
        raise UserError(f"can't remove {path}: {error.strerror}. Check its rights") from error
    return True


def _reached(plan: Plan) -> set[Path]:
    """All directories that a run of the plan uses, at every level."""
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
        for place in (child, child / "dashboard"):
            if jobs.complete(planned, place):
                yield from _states(place)
        yield from _temporary_files(child, deep=level)
        if level + 1 < len(tree.LEVELS):
            yield from _directories(results, child, level + 1, reached, planned)


def _directory(folder: Path, level: int) -> Garbage:
    size = tree.bytes_of(tree.contents(folder, level))
    return Garbage(folder, "no run of these settings uses it", level, size)


def _in_use(folder: Path, level: int) -> bool:
    """Whether a job, such as the orphan of a killed run, still works in ``folder``."""
    locks = (p for p in tree.contents(folder, level) if p.parent.name == STATE)
    return any(p.suffix == ".lock" and Lock(p, "").held() for p in locks)


def _states(folder: Path) -> Iterator[Garbage]:
    """States of ``folder``, whose result is complete, and locks, that no process holds."""
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
    """What killed writers have left in ``folder`` and, of a directory, in the folders of its stage."""
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
    return time.time() - path.stat().st_mtime > OTHER_HOST_SECONDS


def _plans(results: Path, plan: Plan) -> Iterator[Garbage]:
    """Plans of other settings or code, and listings of images that no run uses."""
    folder = results / PLANS
    if folder.is_symlink() or not folder.is_dir():
        return
    listings = {f"{name}.parquet" for name in plan.names("images")}
    present = plan.file_name
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not path.is_file():
            continue
        if PLAN_FILE.fullmatch(path.name) and path.name != present:
            yield Garbage(path, "plan of other settings or code", None, path.stat().st_size)
        named = path.suffix == ".parquet" and tree.NAME.fullmatch(path.stem)
        if named and path.name not in listings:
            yield Garbage(path, "listing of images that no run uses", None, path.stat().st_size)


def lines(found: list[Garbage]) -> list[str]:
    """A line for each, with its size and why."""
    rows = [[texts.size(item.bytes), str(item.path), item.why] for item in found]
    return texts.table(rows, right={0}) if rows else []
