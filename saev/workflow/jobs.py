"""The jobs of a plan, with the same files as in the rules."""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from saev.core.made import MADE, read_made
from saev.workflow.plan import Plan
from saev.workflow.stage import Need, Rule, Stage
from saev.workflow.stages import BY_NAME, LEVELS, RULES, STAGES, behind


class Job(NamedTuple):
    """One job of the workflow."""

    rule: str
    folder: Path
    """The directory that it writes into, including its resumable state."""
    stamp: Path
    """Its only output in Snakemake."""
    outputs: tuple[Path, ...]
    inputs: tuple[Path, ...]
    """Stamps of the jobs it needs."""
    ready: str | None = None
    """A file that a rule of the user must make first; None if there is no such rule."""
    number: int = 0
    """Number of the shard or part."""


def rules_of(stages: Iterable[str]) -> set[str]:
    """Rules of those ``stages`` that are names of stages."""
    return {rule.name for name in stages if name in BY_NAME for rule in BY_NAME[name].rules}


def import_from(folder: str) -> None:
    """Let jobs import the code in ``folder``, wherever the results lie, with this Python.

    Its programs come first in the search path, so that the environment needn't be activated.
    """
    for variable, first in (("PYTHONPATH", folder), ("PATH", str(Path(sys.executable).parent))):
        known = os.environ.get(variable)
        if first not in (known or "").split(os.pathsep)[:1]:
            os.environ[variable] = os.pathsep.join([first, *filter(None, [known])])


def jobs(plan: Plan) -> list[Job]:
    """All jobs that the page of all runs needs, each once, after the jobs that it needs."""
    return [job for stage in STAGES if not stage.on_request for job in of_stage(plan, stage.name)]


@cache
def of_stage(plan: Plan, name: str) -> tuple[Job, ...]:
    """The jobs of a stage, over all runs, each once. Targets of all later stages ask for them."""
    stage = BY_NAME[name]
    found: dict[Path, dict[str, str]] = {}
    for run in plan.trainings if name == "train" else plan.runs:
        for place in stage.runs_of(run):
            found.setdefault(stage.place(Path(plan.results), place), place)
    return tuple(
        job for folder, place in found.items() for job in _jobs_in(plan, stage, folder, place)
    )


def through(plan: Plan, stage: str) -> list[Path]:
    """Stamps of this stage and of all that it is made from.

    Targets need them all: Snakemake wouldn't notice that an intermediate file is missing if
    everything made from it exists.
    """
    stages = behind(stage)
    return [job.stamp for one in STAGES if one.name in stages for job in of_stage(plan, one.name)]


def settle(planned: list[Job]) -> None:
    """Make the stamps agree with the files on disk, before Snakemake looks at them.

    Removes a stamp whose result lost a file, so that the job runs again. Sets a time in the future
    (from a clock that is wrong or was set back) to the present, because Snakemake refuses an output
    that is older than its input.
    """
    now = time.time()
    listed: dict[Path, set[str]] = {}
    for job in planned:
        try:
            modified = job.stamp.stat().st_mtime
        except FileNotFoundError:
            continue
        if not there(job, listed):
            job.stamp.unlink(missing_ok=True)
        elif modified > now:
            os.utime(job.stamp)
        if job.ready and Path(job.ready).exists() and Path(job.ready).stat().st_mtime > now:
            os.utime(job.ready)


def there(job: Job, listed: dict[Path, set[str]] | None = None) -> bool:
    """Whether all files of a job's result exist: its outputs, and what its record names.

    Folders are listed, as a question for each file takes long on a network file system.

    Args:
        listed: names in the folders that were listed so far.
    """
    listed = {} if listed is None else listed
    recorded = read_made(job.stamp.with_suffix(MADE)).get("files", ())
    # Patterns name what other jobs made. A folder that never held a file need not exist.
    names = [e["name"] for e in recorded if "*" not in e["name"] and e.get("files") != 0]
    for path in (*job.outputs, *(job.folder / name for name in names)):
        folder = path.parent
        if folder not in listed:
            listed[folder] = {p.name for p in folder.iterdir()} if folder.is_dir() else set()
        if path.name not in listed[folder]:
            return False
    return True


def missing(planned: list[Job]) -> list[Job]:
    """The jobs in ``planned`` that aren't done, and all jobs that depend on them."""
    made: set[Path] = set()
    listed: dict[Path, set[str]] = {}
    found = []
    for job in planned:
        whole = job.stamp.exists() and there(job, listed)
        if made.intersection(job.inputs) or not whole:
            made.add(job.stamp)
            found.append(job)
    return found


def complete(planned: list[Job], folder: Path) -> bool:
    """Whether some job writes into ``folder``, and everything that jobs write there exists."""
    here = [job for job in planned if job.folder == folder]
    return bool(here) and all(job.stamp.exists() and there(job) for job in here)


def numbers(plan: Plan, rule: Rule, run: dict[str, str]) -> list[str]:
    """The numbers of a rule's jobs for one run, as in file names; [""] for a rule with one job."""
    if rule.each is None:
        return [""]
    n = (
        plan.n_shards(run["images"], run["vit"])
        if rule.each == "shard"
        else plan.n_parts(run["on"])
    )
    return [f"{number:05}" for number in range(n)]


def wanted(plan: Plan, rule: Rule, run: dict[str, str]) -> bool:
    """Whether a rule has jobs for a run: if it has a program of its own, the settings must ask."""
    return not rule.module or plan.spec(rule.name, run) is not None


def inputs_of(plan: Plan, rule: str, run: dict[str, str]) -> dict[str, list[Path]]:
    """The stamps behind each input of a rule's jobs for a run; for the page of all runs, of all."""
    stage, found = RULES[rule]
    runs = [run] if stage.levels else plan.runs
    return {
        name: list(dict.fromkeys(path for one in runs for path in needed(plan, need, one)))
        for name, need in found.needs.items()
    }


def needed(plan: Plan, need: Need, run: dict[str, str]) -> tuple[Path, ...]:
    """The stamps behind an input of a job of ``run``; none if the run has no such component."""
    stage, rule = RULES[need.rule]
    if not wanted(plan, rule, run):
        return ()
    if need.evaluations:
        analysis = tuple(run[level] for level in LEVELS)
        places = [{**run, "evaluation": name} for name in _evaluations(plan).get(analysis, ())]
    elif stage.component not in (None, *run):
        return ()
    else:
        places = [{**run, "images": run["on"]} if need.looked_at else run]
    kinds = dict.fromkeys((*stage.levels, *filter(None, [stage.component]), "on"))
    if need.seeds:
        seeds = plan.component("evaluation", run["evaluation"])["seeds"]
        places = [{**run, stage.levels[-1]: seed} for seed in seeds]
    found = (_stamps(plan, need.rule, tuple((k, place[k]) for k in kinds)) for place in places)
    return tuple(stamp for stamps in found for stamp in stamps)


@cache
def _evaluations(plan: Plan) -> dict[tuple[str, ...], list[str]]:
    """Names of the evaluations of each analysis, in the order of the runs that name them."""
    found: dict[tuple[str, ...], list[str]] = {}
    for run in plan.runs:
        names = found.setdefault(tuple(run[level] for level in LEVELS), [])
        if run.get("evaluation") and run["evaluation"] not in names:
            names.append(run["evaluation"])
    return found


@cache
def _stamps(plan: Plan, name: str, place: tuple[tuple[str, str], ...]) -> tuple[Path, ...]:
    """The stamps of a rule's jobs in one directory, which many jobs share as inputs."""
    (stage, rule), names = RULES[name], dict(place)
    folder = stage.place(Path(plan.results), names)
    return tuple(folder / rule.stamp.format(number=n) for n in numbers(plan, rule, names))


def _jobs_in(plan: Plan, stage: Stage, folder: Path, place: dict[str, str]) -> Iterator[Job]:
    """The jobs of a stage that write into one directory, given the names of its components."""
    for rule in stage.rules:
        if not wanted(plan, rule, place):
            continue
        ready = None
        if rule.made and stage.component:
            ready = plan.component(stage.component, place[stage.component])["ready"]
        inputs = tuple(p for paths in inputs_of(plan, rule.name, place).values() for p in paths)
        for number in numbers(plan, rule, place):
            outputs = tuple(folder / o.format(number=number) for o in rule.outputs.values())
            stamp = folder / rule.stamp.format(number=number)
            yield Job(rule.name, folder, stamp, outputs, inputs, ready, int(number or 0))
