"""Mixes of two revisions: which stage runs with the code of which, and what that changes."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal

from saev.core import logs
from saev.parity.lab import Failed, Lab, Made
from saev.parity.measures.measured import compare
from saev.parity.measures.of_train import within_noise
from saev.parity.revision import Code
from saev.parity.verdict import Level, Verdict
from saev.settings.elsewhere import CHECKPOINT
from saev.settings.parity import ParitySettings
from saev.train.artifact import STAGE as TRAIN
from saev.workflow.stages import STAGES, behind

NOT_RUN = "not run"
Kind = Literal["old", "walk", "alone", "full"]


def stages_of(names: Mapping[str, str]) -> tuple[str, ...]:
    """The stages of a run with components of these kinds, in the order in which data flows."""
    return tuple(
        stage.name
        for stage in STAGES
        if stage.levels and not stage.on_request and stage.component in (None, *names)
    )


@dataclass
class Mix:
    """One mix, and how its results compare with those of another mix."""

    kind: Kind
    new: frozenset[str]
    """The stages that run with the new code."""
    switched: str | None
    """The stage in which it differs from the mix that it is compared with; None if in several."""
    made: dict[str, Made] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    """Why a stage couldn't run. Stages after it didn't."""
    verdicts: dict[str, Verdict] = field(default_factory=dict)


class Mixes:
    """Makes and compares mixes.

    Args:
        lab: runs stages.
        old: the old code, or results that are taken as they are, by stage.
        new: the new code.
        stages: what to compare, in the order in which data flows.
        settings: what counts as the same.
    """

    def __init__(
        self,
        lab: Lab,
        old: Code | dict[str, Made],
        new: Code,
        stages: tuple[str, ...],
        settings: ParitySettings,
    ) -> None:
        self.lab, self.old, self.new = lab, old, new
        self.stages, self.settings = stages, settings
        self.mixes: list[Mix] = []
        self._compared: dict[tuple[Any, Any], Verdict] = {}

    def run(self, full: bool = False, alone: bool = False) -> None:
        """Make the mixes that the question needs.

        Args:
            full: make all mixes.
            alone: make only those that switch one stage of the old results.
        """
        base = self._add("old", (), None, None)
        if alone or isinstance(self.old, dict):
            for stage in self.stages:
                self._add("alone", (stage,), stage, base)
            if not alone:
                self._add("full", self.stages, None, base)
            return
        last = base
        for n, stage in enumerate(self.stages, 1):
            last = self._add("walk", self.stages[:n], stage, last)
        for stage in self.stages[1:]:
            if self.cause(stage).level > Level.BIT_EQUAL:
                self._add("alone", (stage,), stage, base)
        if full:
            known = {mix.new for mix in self.mixes}
            for new in _subsets(self.stages):
                if new not in known:
                    self._add("full", new, None, base)

    def cause(self, stage: str) -> Verdict:
        """What the code of a stage changes by itself, on equal inputs."""
        alone = [m for m in self.mixes if m.switched == stage]
        found = [m.verdicts[stage] for m in alone if stage in m.verdicts]
        if found:
            return max(found, key=lambda one: one.level)
        reasons = [m.failed[stage] for m in alone if stage in m.failed]
        return Verdict(Level.UNKNOWN, (min(reasons, key=_not_run),))

    def _add(self, kind: Kind, new: Iterable[str], switched: str | None, beside: Mix | None) -> Mix:
        mix = Mix(kind, frozenset(new), switched)
        self.mixes.append(mix)
        for stage in self.stages:
            if missing := [name for name in behind(stage) - {stage} if name in mix.failed]:
                mix.failed[stage] = f"{NOT_RUN}, as {missing[0]} failed"
                continue
            try:
                mix.made[stage] = self._make(stage, mix)
            except Failed as error:
                logs.say(str(error))
                mix.failed[stage] = str(error)
        if beside is not None:
            for stage in self.stages:
                if stage in mix.made and stage in beside.made:
                    mix.verdicts[stage] = self._compare(stage, beside.made[stage], mix.made[stage])
        return mix

    def _make(self, stage: str, mix: Mix) -> Made:
        if stage in mix.new:
            return self.lab.make(stage, self.new, mix.made)
        if isinstance(self.old, dict):
            if any(name in mix.new for name in behind(stage)):
                raise Failed("frozen results have no code to run on other inputs")
            return self.old[stage]
        return self.lab.make(stage, self.old, mix.made)

    def _compare(self, stage: str, a: Made, b: Made) -> Verdict:
        key = (a.folder, b.folder)
        if key not in self._compared:
            found = compare(a, b, self.settings)
            if stage == TRAIN and found.level > Level.ROUNDING:
                seeds = self._seeds()
                found = within_noise(found, seeds, self.settings) if seeds else found
            self._compared[key] = found
        return self._compared[key]

    def _seeds(self) -> Verdict | None:
        """What another seed changes with the old code; None if that can't be run.

        Nor does a seed change a dictionary that is converted, not trained.
        """
        base = self.mixes[0].made
        (entry, sae), *_ = self.lab.config["sae"].items()
        if isinstance(self.old, dict) or CHECKPOINT in sae:
            return None
        reason = ""
        for key in ("init_seed", "seed"):  # older code knows only one seed for all
            seed = sae.get(key, sae.get("seed", 0)) + 1
            other = {**self.lab.config, "sae": {entry: {**sae, key: seed}}}
            try:
                another = Lab(self.lab.cache, other, self.lab.cores).make(TRAIN, self.old, base)
            except Failed as error:
                reason = str(error)
            else:
                return compare(base[TRAIN], another, self.settings)
        logs.say(reason)
        return None


def _not_run(reason: str) -> bool:
    return reason.startswith(NOT_RUN)


def _subsets(stages: tuple[str, ...]) -> Iterator[frozenset[str]]:
    for n in range(len(stages) + 1):
        for chosen in combinations(stages, n):
            yield frozenset(chosen)
