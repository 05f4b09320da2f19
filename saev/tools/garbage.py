"""`saev gc`: finds and removes what the current settings no longer use.

It removes only what saev made, never follows a symbolic link, and removes nothing that the
workflow, or a job left by a killed run, is still using.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from saev.analyze.artifact import CODES
from saev.core import logs
from saev.core.errors import UserError
from saev.core.locks import Lock
from saev.core.state import STATE
from saev.dashboard.artifact import FOLDER_NAME
from saev.evaluate.artifact import STAGE as EVALUATE
from saev.labels.artifact import STAGE as LABELS
from saev.tools import present, texts, tree
from saev.tools.leftovers import (
    Garbage,
    former_labels,
    former_matches,
    other_plans,
    plans,
    states,
    temporary_files,
    unasked,
)
from saev.workflow import jobs
from saev.workflow.plan import Plan
from saev.workflow.stages import BY_NAME


def run(
    results: Path,
    configfiles: list[str],
    named: list[str] | None,
    agreed: Callable[[str], bool] = lambda question: True,
    with_codes: bool = False,
) -> list[str]:
    """List or remove what the current settings don't use. Return lines to print.

    Other settings may still use a directory of results, so only named directories are removed.
    Other settings files that were run here before are known, and named beside what they use.

    Args:
        results: the folder of results.
        configfiles: settings files to merge into `config.yaml`.
        named: directories to remove, besides temporary files, states and plans. None only lists.
        agreed: asks the user whether to remove the directories.
        with_codes: list or remove the codes of analyses that the settings use, too.

    Raises:
        UserError: the settings have problems, a named directory can't be removed, or the workflow
            is running.
    """
    if named is None:
        return _report(results, configfiles, None, agreed, with_codes)
    lock = Lock(results / ".lock", f"{results}/")
    lock.acquire(on_wait=logs.say)
    try:
        return _report(results, configfiles, named, agreed, with_codes)
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
    results: Path,
    configfiles: list[str],
    named: list[str] | None,
    agreed: Callable[[str], bool],
    with_codes: bool,
) -> list[str]:
    plan = present.plan(configfiles, str(results))
    found, codes = garbage(results, plan), kept_codes(plan)
    reached = f"{present.described(configfiles)} has {texts.count(len(plan.runs), 'run')}"
    command = f"saev gc{present.option(configfiles)}"
    aside = []
    if with_codes:
        found += codes
    elif codes:
        size = texts.size(sum(item.bytes for item in codes))
        aside = [f"Analyses keep {size} of codes, which may go: {command} --codes lists them."]
    theirs = [item for item in found if item.used_by]
    if theirs:
        aside += ["", "Not counted, as other settings files use it:", "", *lines(theirs)]
    free = [item for item in found if not item.used_by]
    if not free and not named:
        return [f"{reached}, and nothing is here that no run uses.", *aside]
    if named is None:
        total = texts.size(sum(item.bytes for item in free))
        return [
            f"{reached}. They don't {'need' if with_codes else 'use'}:",
            "",
            *lines(free),
            "",
            f"{total}. Nothing was removed.",
            f"Settings that saev doesn't know may still use a directory, so name those to remove: "
            f"{command} --delete DIR …",
            *aside,
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
            f"build_gallery{present.option(configfiles)}"
        )
    return text


def garbage(results: Path, plan: Plan) -> list[Garbage]:
    """Find what ``plan`` doesn't use. Changes nothing."""
    planned = jobs.jobs(plan)
    reached = _reached(plan).union(tree.users_of_labels(results))
    found = list(_directories(results, results, 0, reached, planned))
    others = other_plans(results, plan)
    for other in others.values():
        theirs = _reached(other)
        name = present.described(other.data["configfiles"])
        found = [
            item._replace(used_by=name, why=f"runs of {name} use it")
            if item.path in theirs and not item.used_by
            else item
            for item in found
        ]
    found += [*temporary_files(results), *former_matches(results)]
    found += unasked([plan, *others.values()])
    return [*found, *plans(results, plan, others)]


def kept_codes(plan: Plan) -> list[Garbage]:
    """The codes that the analyses of ``plan`` keep, unless a job is writing them."""
    last = len(tree.LEVELS) - 1
    why = "codes: without them, pages and evaluations encode images again"
    return [
        Garbage(analysis / CODES, why, None, tree.bytes_of(tree.everything(analysis / CODES)))
        for analysis in sorted(
            {Path(plan.results, *(run[level] for level in tree.LEVELS)) for run in plan.runs}
        )
        if (analysis / CODES).is_dir() and not _in_use(analysis, last)
    ]


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
        if item.path.parent.name in (STATE, *tree.FOLDERS.values()):
            with suppress(OSError):  # another one may still be there
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
        if LABELS in run:
            reached.add(BY_NAME[LABELS].place(Path(plan.results), {**run, "images": run["on"]}))
        if "evaluation" in run:
            reached.add(BY_NAME[EVALUATE].place(Path(plan.results), run))
    reached |= {BY_NAME["train"].place(Path(plan.results), one) for one in plan.trainings}
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
                yield from states(place)
        yield from temporary_files(child, deep=level)
        yield from _apart(child, level, reached, planned)
        if level == len(tree.LEVELS) - 1:
            yield from former_labels(child)
        if level + 1 < len(tree.LEVELS):
            yield from _directories(results, child, level + 1, reached, planned)


def _apart(
    folder: Path, level: int, reached: set[Path], planned: list[jobs.Job]
) -> Iterator[Garbage]:
    for inner in tree.apart(folder, level):
        kind = tree.APART[level]
        if inner in reached:
            if jobs.complete(planned, inner):
                yield from states(inner)
        elif tree.recognised(inner, kind) and not _in_use(inner, kind):
            yield _directory(inner, kind)


def _directory(folder: Path, level: int) -> Garbage:
    size = tree.bytes_of(tree.contents(folder, level))
    return Garbage(folder, "no run of these settings uses it", level, size)


def _in_use(folder: Path, level: int) -> bool:
    """Whether a job, such as an orphan of a killed run, still writes into ``folder``."""
    locks = (p for p in tree.contents(folder, level) if p.parent.name == STATE)
    return any(p.suffix == ".lock" and Lock(p, "").held() for p in locks)


def lines(found: list[Garbage]) -> list[str]:
    """One line for each, with its size and the reason."""
    rows = [[texts.size(item.bytes), str(item.path), item.why] for item in found]
    return texts.table(rows, right={0}) if rows else []
