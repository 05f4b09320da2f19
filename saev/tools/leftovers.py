"""What jobs and starts of the workflow left behind, which `saev gc` finds."""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from saev.core.errors import UserError
from saev.core.files import read_json
from saev.core.locks import ABANDONED_SECONDS, Lock, alive
from saev.core.made import MADE
from saev.core.plan_file import PLANS, groups_name
from saev.core.state import STATE
from saev.dashboard.artifact import BESIDE_RUNS, MATCHED, PROJECTION
from saev.images.artifact import VOUCHED
from saev.images.seen import memory_name
from saev.labels.source_labels import labels_name
from saev.tools import present, tree
from saev.workflow import jobs
from saev.workflow.plan import Plan
from saev.workflow.stages import FORMER_LABELS, RULES

KEPT = re.compile(r"((?:seen|labels|groups)\.[0-9a-f]+)(\.[0-9a-f]+)*\.(?:parquet|npy|seen)")
PLAN_FILE = re.compile(r"[0-9a-f]{16}\.json")


class Garbage(NamedTuple):
    """Something that can be removed."""

    path: Path
    why: str
    level: int | None
    """Level of a directory of results, as in `tree`; None for other things, which are removed
    entirely."""
    bytes: int
    used_by: str = ""
    """Other settings files whose runs use it."""


def former_labels(analysis: Path) -> Iterator[Garbage]:
    """What an older version wrote into an analysis that was made again since."""
    with suppress(UserError):
        files = tree.read(analysis)["files"]
        former = [p for pattern in FORMER_LABELS for p in sorted(analysis.glob(pattern))]
        if FORMER_LABELS[0] not in [entry["name"] for entry in files]:
            for path in former:
                why = "from an older version: labels lie with the images now"
                yield Garbage(path, why, None, path.stat().st_size)


def former_matches(results: Path) -> Iterator[Garbage]:
    """Matched latents of pairs of runs that the gallery no longer lists."""
    index = results / MATCHED
    with suppress(OSError, UnicodeDecodeError):
        listed = index.read_text()
        for path in sorted(index.parent.glob("*.js")):
            if path != index and f'"{path.relative_to(results).as_posix()}"' not in listed:
                yield Garbage(path, "matched runs that are gone", None, path.stat().st_size)


def states(folder: Path) -> Iterator[Garbage]:
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


def temporary_files(folder: Path, deep: int | None = None) -> Iterator[Garbage]:
    """Temporary files that killed processes left in ``folder`` and in the folders of its stage."""
    for path in sorted(folder.iterdir()):
        if path.is_symlink():
            continue
        if path.is_file() and _left_over(path):
            why = "temporary file of a process that is gone"
            yield Garbage(path, why, None, path.stat().st_size)
        elif path.is_dir() and (
            path.name in (PLANS, *BESIDE_RUNS)
            if deep is None
            else path.name != STATE and tree.own(path.name, deep)
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


def other_plans(results: Path, plan: Plan) -> dict[str, Plan]:
    """By the name of its file, the last plan of each of the other settings files that were run
    here, as long as they exist."""
    found: dict[tuple[str, ...], tuple[float, str, Plan]] = {}
    for path in results.glob(f"{PLANS}/*.json"):
        if not PLAN_FILE.fullmatch(path.name):
            continue
        with suppress(UserError, KeyError, TypeError, AttributeError):  # damaged, or older
            data = read_json(path)
            files = tuple(data["configfiles"])
            known = (path.stat().st_mtime, path.name, Plan(data, str(results)))
            merged = present.names([*files])
            if merged and all(Path(file).is_file() for file in merged) and data["runs"]:
                found[files] = max(found.get(files, known), known, key=lambda one: one[0])
    found.pop(tuple(plan.data.get("configfiles", ())), None)
    return {name: other for _, name, other in found.values()}


def plans(results: Path, plan: Plan, others: dict[str, Plan]) -> Iterator[Garbage]:
    """Plans of former settings or code, and listings of images that no run uses.

    Args:
        others: what `other_plans` found.
    """
    folder = results / PLANS
    if folder.is_symlink() or not folder.is_dir():
        return
    wanted = [plan, *others.values()]
    listings = {name for one in wanted for name in one.names("images")}
    used = {name for one in wanted for name in _remembered(one)}
    kept_plans = {plan.file_name, *others}
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not path.is_file():
            continue
        if PLAN_FILE.fullmatch(path.name) and path.name not in kept_plans:
            yield Garbage(path, "plan of former settings or code", None, path.stat().st_size)
        named = path.suffix in (".parquet", ".json", VOUCHED) and tree.NAME.fullmatch(path.stem)
        if named and path.stem not in listings:
            yield Garbage(path, "listing of images that no run uses", None, path.stat().st_size)
        kept = KEPT.fullmatch(path.name)
        if kept and kept[1] not in used:
            yield Garbage(path, "what an earlier run saw of images", None, path.stat().st_size)


def unasked(plans: list[Plan]) -> Iterator[Garbage]:
    """What a rule once put beside pages of the first plan, and none of the plans asks for."""
    first = plans[0]
    for stage, rule in RULES.values():
        if not rule.module:
            continue
        asked = {job.stamp for one in plans for job in jobs.of_stage(one, stage.name)}
        for folder in {stage.place(Path(first.results), run) for run in first.runs}:
            stamp = folder / rule.stamp
            if stamp in asked or not stamp.with_suffix(MADE).exists():
                continue
            # A page reports an error if it looks for its projection in vain.
            files = [folder / name for name in rule.outputs.values() if name != PROJECTION]
            for path in (stamp, stamp.with_suffix(MADE), *files):
                if path.is_file():
                    why = f"of {rule.name}, which these settings don't ask for"
                    yield Garbage(path, why, None, path.stat().st_size)


def _remembered(plan: Plan) -> Iterator[str]:
    """Beginnings of the names of what starts of a plan keep of images and labels."""
    for name in plan.names("images"):
        settings = plan.component("images", name).get("settings", {})
        yield memory_name(name.rpartition("-")[0], settings)
    for name in plan.names("analysis"):
        resolved = plan.component("analysis", name).get("resolved", {}).get("labels", {})
        yield from (labels_name(label["sha256"]) for label in resolved.values())
    for name in plan.names("sae"):
        groups = plan.component("sae", name).get("resolved", {}).get("groups")
        if groups:
            yield groups_name(groups).removesuffix(".npy")
