"""Finished results that other code made: which they are, and what they were made from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from saev.core.errors import UserError
from saev.core.files import read_json
from saev.core.meta import RUN
from saev.core.spec import read_spec
from saev.labels.artifact import STAGE as LABELS
from saev.settings.images import source_of
from saev.settings.labels import LabelsSettings
from saev.workflow import jobs
from saev.workflow.digests import code_digest
from saev.workflow.jobs import Job
from saev.workflow.plan import RECORDING_LIBRARIES, Plan
from saev.workflow.stages import BY_NAME, LEVELS, RULES, STAGES

ELSEWHERE = "from elsewhere"
"""What to call a dictionary that wasn't trained here."""


@dataclass
class Result:
    """All that one stage wrote into one directory."""

    stage: str
    folder: Path
    jobs: list[Job] = field(default_factory=list)
    run: dict[str, Any] = field(default_factory=dict)
    """Its `run.json`; empty if there is none."""
    names: dict[str, str] = field(default_factory=dict)
    """Names of its directory and of those that it lies in, by component."""
    expected: str = ""
    """Digest of the code that counts for it now."""
    kind: tuple[str, ...] = ()
    """Source, model, architecture, as far as it has them: for people."""
    branches: tuple[Any, ...] = ()
    """What decides which of the code makes it: see `branches_of`."""

    @property
    def code(self) -> str:
        """Digest of the code that made it, or that was accepted for it; empty if unknown."""
        return self.run.get("code") or ""

    @property
    def complete(self) -> bool:
        """Whether all its jobs are done."""
        return all(job.stamp.exists() and jobs.there(job) for job in self.jobs)

    @property
    def seconds(self) -> float:
        """How long it took."""
        return float(self.run.get("seconds", 0)) + float(self.run.get("recording_seconds", 0))


class PlannedResults:
    """The results of a plan, by their folder.

    Args:
        plan: the plan.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._known_branches: dict[tuple[str, str], Any] = {}
        self.by_folder: dict[Path, Result] = {}
        for stage in STAGES:
            for job in jobs.of_stage(plan, stage.name):
                if RULES[job.rule][1].module:  # no sample of the stage makes it
                    continue
                if job.folder not in self.by_folder:
                    self.by_folder[job.folder] = self._described(stage.name, job.folder)
                self.by_folder[job.folder].jobs.append(job)

    def stale(self, stages: tuple[str, ...]) -> list[Result]:
        """Finished results of ``stages`` that other code made, in the order in which data flows."""
        return [
            result
            for result in self.by_folder.values()
            if result.stage in stages
            and result.complete
            and result.code not in ("", result.expected)
        ]

    def before(self, result: Result) -> list[Result]:
        """The results that one was made from, directly or indirectly."""
        found: dict[Path, Result] = {}
        todo = [result]
        while todo:
            for job in todo.pop().jobs:
                for folder in {stamp.parent for stamp in job.inputs} - {result.folder}:
                    if folder not in found and folder in self.by_folder:
                        found[folder] = self.by_folder[folder]
                        todo.append(found[folder])
        return list(found.values())

    def other_libraries(self, result: Result) -> list[str]:
        """Libraries whose version counts for a recording and has changed since."""
        if result.stage != "activations":
            return []
        from importlib.metadata import version

        told: Mapping[str, str] = result.run.get("versions", {})
        return [
            f"{name} {told[name]} → {version(name)}"
            for name in RECORDING_LIBRARIES
            if name in told and told[name] != version(name)
        ]

    def _described(self, stage: str, folder: Path) -> Result:
        parts = folder.relative_to(self.plan.results).parts
        kept = BY_NAME[stage]
        names = dict(zip(kept.levels, parts, strict=False))
        if kept.component and "{" in kept.inside:
            names[kept.component] = parts[-1]
        try:
            run = read_json(folder / RUN)
        except UserError:
            run = {}
        kind, branches = self._kind(names), self._branches(stage, names)
        return Result(stage, folder, [], run, names, self._expected(stage, names), kind, branches)

    def _expected(self, stage: str, names: Mapping[str, str]) -> str:
        """The code in the parameter of the rule. A dictionary from elsewhere has its own."""
        component = BY_NAME[stage].component
        if component is None:
            return code_digest(BY_NAME[stage])
        return read_spec(self.plan.data["specs"][stage][names[component]]).code

    def _kind(self, names: Mapping[str, str]) -> tuple[str, ...]:
        found = []
        for level in LEVELS[:3]:
            if level in names:
                known = self.plan.component(level, names[level])
                given = {**known["loose"], **known["settings"]}
                found.append(
                    source_of(given)
                    if level == "images"
                    else str(given.get("model" if level == "vit" else "architecture", ELSEWHERE))
                )
        return tuple(found)

    def _branches(self, stage: str, names: Mapping[str, str]) -> tuple[Any, ...]:
        """Those of the components that it has settings of, or is made from; and which images, as
        kinds of files decide too."""
        found: list[Any] = [names.get("images")]
        for kind in sorted({*LEVELS, BY_NAME[stage].component or LEVELS[0]} & names.keys()):
            key = (kind, names[kind])
            if key not in self._known_branches:
                self._known_branches[key] = branches_of(self._settings(*key))
            found.append((kind, self._known_branches[key]))
        return tuple(found)

    def _settings(self, kind: str, name: str) -> BaseModel:
        if kind != LABELS:
            return self.plan.settings(kind, name)
        return read_spec(self.plan.data["specs"][LABELS][name]).parsed(LabelsSettings)


def branches_of(settings: BaseModel) -> tuple[Any, ...]:
    """What in settings decides which code runs: the choices, and which of the others are set.

    A number that is 0, or a list that is empty, mostly switches something off.
    """
    found: list[tuple[str, Any]] = [("", type(settings).__name__)]
    for name, known in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            found.append((name, branches_of(value)))
        elif isinstance(value, dict):
            inner = {branches_of(v) for v in value.values() if isinstance(v, BaseModel)}
            found.append((name, (bool(value), *sorted(inner, key=repr))))
        else:
            found.append((name, value if _is_choice(known.annotation) else bool(value)))
    return tuple(found)


def _is_choice(annotation: Any) -> bool:
    return get_origin(annotation) is Literal or any(map(_is_choice, get_args(annotation)))
