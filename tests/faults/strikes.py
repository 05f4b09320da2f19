"""A strike: which fault hits which stage at which instant, and what came of it."""

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from project import Project
from test_nothing_lost import stage_of

from . import jobs as running
from .jobs import STAGES, Job
from .template import Template, counted

SURVIVED, DETECTED, LOST = "survived", "detected", "lost"
NOT_TRIED = "not tried"
VERDICTS = (SURVIVED, DETECTED, LOST, NOT_TRIED)


class Outcome(NamedTuple):
    """What came of a strike."""

    verdict: str
    """``survived``: the bytes of an undisturbed run. ``detected``: a line names the damage, nothing
    was made from it, and what the line advises mends it. ``lost``: anything else. ``not tried``:
    this machine doesn't allow it, or the strike came too late."""
    told: str = ""
    """What happened, in a line."""
    paid_twice: int = 0
    """Jobs that had finished, and were done again by the same command."""
    tracebacks: int = 0
    """Tracebacks and internal errors on the terminal."""


class Scene:
    """A copy of the project that is being struck; the current folder is its folder.

    Args:
        seed: chooses all that is left to chance.
        stage: the stage to strike.
    """

    def __init__(self, template: Template, seed: int, stage: str) -> None:
        self.template, self.stage = template, stage
        self.chance = random.Random(f"{seed} {stage}")
        self.project = Project(Path.cwd())
        self._finished: dict[str, tuple[int, int]] = {}

    def jobs(self, stage: str | None = None) -> list[Job]:
        """Jobs up to a stage; None stands for the stage that is struck."""
        last = STAGES.index(stage or self.stage)
        return [job for job in self.template.jobs if STAGES.index(job.stage) <= last]

    def note_finished(self) -> None:
        """Note which jobs have finished, so that none is paid twice from now on."""
        self._finished = {
            job.stamp: _identity(job)
            for job in self.template.jobs
            if Path(job.stamp).exists() and Path(job.made).exists()
        }

    def paid_twice(self, but: Iterable[str] = ()) -> list[str]:
        """Jobs that were done again although they had finished, but for those of ``but``."""
        return [
            job.rule
            for job in self.template.jobs
            if job.stamp in self._finished
            and job.stamp not in set(but)
            and Path(job.made).exists()
            and _identity(job) != self._finished[job.stamp]
        ]

    def differences(self, stage: str | None = None) -> dict[str, str]:
        """Results up to a stage that differ from those of an undisturbed run: how, by name."""
        last = STAGES.index(stage or self.stage)
        truth, now = self.template.truth, counted(self.project)
        found = {}
        for name in sorted({*truth, *now}):
            if STAGES.index(stage_of(name)) <= last and truth.get(name) != now.get(name):
                found[name] = (
                    "missing" if name not in now else "new" if name not in truth else "other bytes"
                )
        return found

    def tracebacks(self, *texts: str) -> int:
        """How many tracebacks and internal errors were shown on the terminal."""
        return sum(text.count("Traceback (most") + text.count("internal error") for text in texts)

    def judged(self, told: str, text: str, again: running.Ran) -> Outcome:
        """The outcome of a fault that is over when the same command runs again."""
        differ, paid = self.differences(), self.paid_twice()
        whole = again.ok and not differ
        if not whole:
            told += f"; {in_short(differ)}; {again.text[-1500:]}"
        if paid:
            told += f"; paid twice: {', '.join(paid)}"
        return Outcome(
            SURVIVED if whole else LOST, told, len(paid), self.tracebacks(text, again.text)
        )


def _identity(job: Job) -> tuple[int, int]:
    stat = Path(job.made).stat()
    return stat.st_ino, stat.st_mtime_ns


def in_short(differ: dict[str, str]) -> str:
    """The first few differences, in a line."""
    shown = ", ".join(f"{name}: {how}" for name, how in list(differ.items())[:4])
    return f"{len(differ)} files differ: {shown}" if differ else "nothing differs"


class Fault(NamedTuple):
    """A kind of fault."""

    strike: Callable[[Scene], Outcome]
    stages: tuple[str, ...] = STAGES
