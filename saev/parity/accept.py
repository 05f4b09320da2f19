"""`saev accept`: proves on a sample that changed code makes the same, in place of paying again."""

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saev.core.errors import UserError
from saev.core.files import sha256_file, write_json
from saev.core.locks import Lock
from saev.core.made import MADE
from saev.core.meta import RUN
from saev.core.once import accept as accept_record
from saev.core.progress import duration
from saev.parity.lab import Failed, Made, command_line
from saev.parity.long_training import Long, compare_long, training_seconds
from saev.parity.measures.measured import compare
from saev.parity.sample_project import Scratch, files_of
from saev.parity.stale import PlannedResults, Result
from saev.parity.verdict import Level, Verdict
from saev.settings.parity import ParitySettings
from saev.train.artifact import STAGE as TRAIN
from saev.workflow.digests import FILES
from saev.workflow.jobs import Job
from saev.workflow.stages import BY_NAME, STAGES

FOLDER = ".accept"
"""Folder of the project in which samples are made again."""
AT_ONCE = 1000
"""Stamps that one call of Snakemake is told to take as made."""


@dataclass(frozen=True)
class Options:
    """What to look at, and how closely."""

    stages: tuple[str, ...]
    sample: int
    """Results made again of each kind, and shards or parts of each."""
    seconds: float
    """Longest training that is made again as a whole."""
    seed: int
    trust: bool
    """Accept everything without making anything again."""


@dataclass
class StaleGroup:
    """Stale results of one stage and kind, made by the same code."""

    stage: str
    code: str
    results: list[Result]
    sampled: list[Result]

    def seconds(self, longest: float) -> float:
        """How long its sample takes, if ``longest`` is made again of a training."""
        times = [_seconds(result) for result in self.sampled]
        return sum(min(s, longest) if self.stage == TRAIN else s for s in times)


class Acceptance:
    """One call of `saev accept`.

    Args:
        results: the results of the current settings.
        configfiles: settings files beside `config.yaml`.
        options: what to look at.
        settings: what counts as the same.
        say: prints a line.
    """

    def __init__(
        self,
        results: PlannedResults,
        configfiles: list[str],
        options: Options,
        settings: ParitySettings,
        say: Callable[[str], None],
    ) -> None:
        self.results, self.configfiles, self.options = results, configfiles, options
        self.settings, self.say = settings, say
        self.cores = os.cpu_count() or 1
        self.refused: set[Path] = set()
        self.accepted: list[Result] = []

    def run(self) -> bool:
        """Look at every stale result. Return whether all are accepted."""
        stale = self.results.stale(self.options.stages)
        if not stale:
            self.say("Nothing is stale: the code that counts made all finished results.")
            return True
        every = self.results.stale(tuple(stage.name for stage in STAGES))
        self.refused = {result.folder for result in every}
        groups = list(self._groups(stale))
        if not self.options.trust:
            for group in groups:
                n, total = len(group.sampled), len(group.results)
                cost = duration(group.seconds(self.options.seconds))
                self.say(
                    f"{group.stage} ({', '.join(group.results[0].kind) or 'all runs'}): makes "
                    f"{n:,} of {total:,} again, in about {cost}"
                )
        held = Lock(Path(self.results.plan.results, ".lock"), f"{self.results.plan.results}/")
        held.acquire(on_wait=self.say)
        try:
            whole = all([self._group(group) for group in groups])
        finally:
            held.release()
            shutil.rmtree(FOLDER, ignore_errors=True)
        self._tell_snakemake()
        n = len(self.accepted)
        self.say(f"Accepted {n:,} of {len(stale):,} stale results as made by this code.")
        return whole

    def _groups(self, stale: list[Result]) -> Iterator[StaleGroup]:
        held: dict[tuple[Any, ...], list[Result]] = {}
        for result in stale:
            kind = (result.stage, result.code, result.kind, result.branches)
            held.setdefault(kind, []).append(result)
        rng = random.Random(self.options.seed)
        for (stage, code, *_), found in held.items():
            yield StaleGroup(
                stage, code, found, rng.sample(found, min(self.options.sample, len(found)))
            )

    def _group(self, group: StaleGroup) -> bool:
        """Look at a group. Accept all of it, or nothing."""
        for result in group.results:
            stale = [r for r in self.results.before(result) if r.folder in self.refused]
            if stale:
                self.say(
                    f"{result.folder}: not accepted, as {stale[0].folder} isn't: it was made from "
                    f"what may change"
                )
                return False
            changed = self.results.other_libraries(result)
            if changed:
                self.say(f"{result.folder}: not accepted, as libraries changed: {changed[0]}")
                return False
        proofs = []
        for result in [] if self.options.trust else group.sampled:
            try:
                verdict, what = self._compared(result)
            except Failed as error:
                verdict, what = Verdict(Level.UNKNOWN, (str(error),)), "nothing"
            if not verdict.same:
                self.say(f"{result.folder}: {verdict.level.words}: {'; '.join(verdict.texts[:3])}")
                self.say(f"{group.stage}: nothing of {len(group.results):,} is accepted")
                return False
            self.say(f"{result.folder}: {verdict.level.words} ({what})")
            proofs.append(_proof(result, verdict, what))
        for result in group.results:
            self._mark(result, proofs)
        return True

    def _mark(self, result: Result, proofs: list[dict[str, Any]]) -> None:
        code = result.expected
        if result.run:
            proof = {
                "code": code,
                "instead_of": result.code,
                "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "trusted": self.options.trust,
                "compared": proofs,
            }
            kept = [*result.run.get("accepted", []), proof]
            write_json(result.folder / RUN, {**result.run, "code": code, "accepted": kept})
        for job in result.jobs:
            accept_record(job.stamp.with_suffix(MADE), code, result.code)
        self.refused.discard(result.folder)
        self.accepted.append(result)

    def _compared(self, result: Result) -> tuple[Verdict, str]:
        """Make a part of a result again, and compare.

        Raises:
            Failed: the present code can't make it.
        """
        config = self.results.plan.data["config"]
        scratch = Scratch(Path(FOLDER).absolute(), Path.cwd(), config, self.configfiles, self.cores)
        for other in self.results.before(result):
            scratch.link(other.folder)
        made = Made.at(result.stage, Path(self.results.plan.results), result.names)
        if result.stage == TRAIN and _seconds(result) > self.options.seconds:
            long = Long(made, result.jobs[-1].stamp, self.options.seconds)
            return compare_long(long, scratch, self.settings)
        what, last = "all of it", result.jobs[-1]
        first = BY_NAME[result.stage].rules[0]
        if first.each:
            pieces = [job for job in result.jobs if job.rule == first.name]
            chosen = self._chosen(pieces)
            again = [path for job in (*chosen, last) for path in files_of(job.stamp)]
            scratch.link(result.folder, again)
            what = f"{len(chosen):,} of {len(pieces):,} {first.each}s, and what joins them"
        scratch.make(last.stamp, f"making {result.folder} again")
        new = Made.at(result.stage, scratch.results, result.names)
        return compare(made, new, self.settings), what

    def _chosen(self, pieces: list[Job]) -> list[Job]:
        """A sample of shards or parts. The last, which need not be full, is always in it."""
        rng = random.Random(self.options.seed)
        others = rng.sample(pieces[:-1], min(self.options.sample - 1, len(pieces) - 1))
        return [*others, pieces[-1]]

    def _tell_snakemake(self) -> None:
        """Let Snakemake take the accepted results as made by this code.

        The page of all runs is made again, which takes seconds, unless other results have to be
        made before it.
        """
        stamps = [str(job.stamp) for result in self.accepted for job in result.jobs]
        for start in range(0, len(stamps), AT_ONCE):
            self._snakemake(stamps[start : start + AT_ONCE], "--touch")
        gallery = BY_NAME["gallery"]
        stamp = Path(self.results.plan.results, gallery.rules[0].stamp)
        if stamps and not self.refused and stamp.exists():
            self._snakemake([str(stamp)])

    def _snakemake(self, targets: list[str], *options: str) -> None:
        given = ("--configfile", *self.configfiles) if self.configfiles else ()
        command = command_line(FILES, Path.cwd(), 1, targets, *options, *given)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stdout + done.stderr).strip().splitlines()[-1:]
            raise UserError(
                f"results were accepted, but Snakemake's records weren't changed, so it will look "
                f"at them again: {' '.join(said)}"
            )


def _seconds(result: Result) -> float:
    """How long it takes to make a sample of a result, or all of a training."""
    stage = BY_NAME[result.stage]
    if result.stage == TRAIN:
        return training_seconds(result.folder, result.run)
    if stage.rules[0].each == "shard":
        n = sum(job.rule == stage.rules[0].name for job in result.jobs)
        recording = float(result.run.get("recording_seconds", 0))
        return recording / n + float(result.run.get("seconds", 0))
    return result.seconds


def _proof(result: Result, verdict: Verdict, what: str) -> dict[str, Any]:
    return {
        "result": str(result.folder),
        "verdict": verdict.level.words,
        "what": what,
        "texts": list(verdict.texts),
        "sha256": sha256_file(result.folder / BY_NAME[result.stage].completion),
    }
