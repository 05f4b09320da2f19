"""`saev parity`: says which stage makes two revisions differ."""

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from saev.core import logs
from saev.core.errors import UserError
from saev.core.files import read_json, sha256_file, write_bytes, write_json
from saev.core.locks import Lock
from saev.core.meta import META
from saev.dashboard.artifact import PAGE, PARITY
from saev.parity import report
from saev.parity.lab import Failed, Lab, Made
from saev.parity.mixes import Mixes, stages_of
from saev.parity.report_page import page
from saev.parity.revision import WORKTREE, Code, code_of, uncommitted
from saev.parity.script import commands_of
from saev.parity.subject import Subject, frozen, require_images, small
from saev.settings.config import parse
from saev.workflow.plan import Plan
from saev.workflow.stages import BY_NAME

CACHE = ".parity"
"""Folder of the project with code, images and results of mixes. It can be removed at any time."""

SMALL = 1 << 30
"""Bytes of room for mixes of a few hundred images."""


def run(
    old: str,
    new: str,
    plan: Plan,
    cores: int | None,
    full: bool = False,
    alone: bool = False,
    commands: Sequence[str] = (),
) -> tuple[Mixes, dict[str, str], Path]:
    """Compare two revisions.

    Args:
        old, new: revisions, `worktree`, or (for ``old``) a folder of results.
        plan: the current settings.
        cores: how many to use; None for all.
        full: make all mixes.
        alone: make only those that switch one stage of the old results.
        commands: ``STAGE=COMMAND``, stages of the new code that are commands.

    Returns:
        what was found, what was compared, and the folder of the report.

    Raises:
        UserError: there is no such revision, or it can't be compared.
    """
    cache = Path(CACHE).absolute()
    cache.mkdir(exist_ok=True)
    write_bytes(cache / ".gitignore", b"*\n")
    settings = parse(plan.data["config"]).parity
    subject: Subject
    if _is_results(Path(new)):
        raise UserError(f"{new} is a folder of results, which can only be OLD: NEW is code")
    if _is_results(Path(old)):
        subject, names = frozen(Path(old))
        require_images(Path(old), names)
        base: Code | dict[str, Made] = _frozen(Path(old).absolute(), names)
        _require_room(cache, sum(path.stat().st_size for path in Path(old).rglob("*.npy")))
    else:
        names = {kind: name for kind, name in plan.runs[0].items() if name}
        _require_room(cache, SMALL)
        base = code_of(old, cache / "code")
        subject = small(plan, settings.n_images, settings.steps, cache / "images")
    changed = code_of(new, cache / "code")
    told = {"old": old, "new": new, "subject": subject.told}
    codes = [code for code in (base, changed) if isinstance(code, Code)]
    stages = stages_of(names)
    for code in codes:
        _require_stages(code, stages)
    if WORKTREE not in (old, new) and uncommitted():
        logs.say(f"changes that aren't committed are left out: to compare them, give {WORKTREE}")
    changed = changed._replace(commands=commands_of(list(commands), stages))
    lock = Lock(cache / "lock", "the mixes of this project")
    lock.acquire(on_wait=logs.say)
    try:
        lab = Lab(cache / "made", subject.config, cores or os.cpu_count() or 1, subject.links)
        _require_able(lab, codes)
        mixes = Mixes(lab, base, changed, stages, settings)
        mixes.run(full, alone)
    finally:
        lock.release()
    target = Path(plan.results, PARITY, f"{_safe(old)}..{_safe(new)}")
    write_json(target / "report.json", report.as_json(mixes, told))
    write_bytes(target / "report.md", report.as_markdown(mixes, told).encode())
    write_bytes(target / PAGE, page(mixes, told))
    return mixes, told, target


def _require_room(cache: Path, size: int) -> None:
    free = shutil.disk_usage(cache).free
    if free < size:
        raise UserError(
            f"{cache} needs about {size / 1e9:.1f} GB for results of both versions, and its disk "
            f"has {free / 1e9:.1f} GB left: free some, or link {CACHE} to another disk"
        )


def _is_results(path: Path) -> bool:
    return path.is_dir() and any(path.glob(f"*/{META}"))


def _frozen(results: Path, names: dict[str, str]) -> dict[str, Made]:
    """Finished results of a run, by stage."""
    found = {}
    for name in stages_of(names):
        stage = BY_NAME[name]
        completion = stage.place(results, names) / stage.completion
        read_json(completion)
        found[name] = Made(name, results, names, sha256_file(completion))
    return found


def _require_able(lab: Lab, codes: list[Code]) -> None:
    """Refuse a revision that can't even list the images here."""
    try:
        for code in codes:
            lab.names(code)
    except Failed as error:
        raise UserError(
            f"{error}\nA revision must run with the packages that are installed"
        ) from None


def _require_stages(code: Code, stages: tuple[str, ...]) -> None:
    missing = [name for name in stages if not (code.folder / "rules" / f"{name}.smk").is_file()]
    if missing:
        raise UserError(f"{code.name} has no stage {', '.join(missing)}: give a later revision")


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.") or "results"
