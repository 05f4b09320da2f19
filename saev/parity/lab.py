"""Runs one stage with the code of a revision, on results that another revision made."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from saev.activations.verified import FOLDER as VERIFIED
from saev.core import logs
from saev.core.errors import UserError
from saev.core.files import (
    canonical_json,
    read_json,
    sha256_bytes,
    sha256_file,
    write_json,
)
from saev.core.made import DONE
from saev.core.plan_file import PLAN_VARIABLE, PLANS
from saev.core.planned import ROOT
from saev.core.provenance import package_versions
from saev.core.state import STATE
from saev.parity.revision import Code, share_compiled
from saev.parity.script import run_command, stamp_results
from saev.train.last_state import FOLDER as LAST_STATE
from saev.workflow.plan import Plan
from saev.workflow.stages import BY_NAME, STAGES, behind

MADE = "made.json"
"""Written last into the folder of a stage that was run."""
SHOWN_LINES = 6
LONG_AGO = 1_000_000_000
"""A time in the past, in seconds since 1970."""
AS_GIVEN = ("--rerun-triggers", "mtime")
"""Options with which what is there counts as made, whatever code made it."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*-[0-9a-f]{8}")
INNER = (
    *(STATE, LAST_STATE, VERIFIED),
    *{stage.inside.split("/")[0] for stage in STAGES if stage.inside},
)
"""Folders in the directory of a result that hold other results, a state, or what this host has
verified, which grows in place."""


class Failed(Exception):
    """A stage that a revision couldn't run here, and why."""


class Made(NamedTuple):
    """The result of one stage."""

    stage: str
    results: Path
    names: dict[str, str]
    """Names of the directories at each level, as the revision that made it calls them."""
    digest: str
    """SHA-256 of the file that the stage writes last. It depends on every byte of the result."""

    @classmethod
    def at(cls, stage: str, results: Path, names: dict[str, str]) -> "Made":
        """The result of a stage in a folder of results.

        Raises:
            Failed: it isn't complete.
        """
        completion = BY_NAME[stage].place(results, names) / BY_NAME[stage].completion
        if not completion.is_file():
            raise Failed(f"{completion} wasn't made")
        return cls(stage, results, names, sha256_file(completion))

    @property
    def folder(self) -> Path:
        """Its directory."""
        return BY_NAME[self.stage].place(self.results, self.names)

    def unnamed(self, text: str) -> str:
        """A text in which its directories have no digests, which depend on what they lie in."""
        for name in self.names.values():
            text = text.replace(name, name.rpartition("-")[0] or name)
        return text

    @property
    def described(self) -> dict[str, Any]:
        """Its `meta.json` (of a page, its `summary.json`)."""
        return read_json(self.folder / BY_NAME[self.stage].completion)


class Lab:
    """Makes results of stages, each once, in folders of its own under ``cache``.

    The same stage with the same code on the same inputs is the same result: all mixes share it,
    and so do later calls.

    Args:
        cache: folder that keeps what was made.
        config: the settings, with absolute paths and one run.
        cores: how many to use.
        links: what relative paths in the settings begin with, and where that lies.
    """

    def __init__(
        self, cache: Path, config: dict[str, Any], cores: int, links: Mapping[str, str] = {}
    ) -> None:
        self.cache, self.config, self.cores, self.links = cache, config, cores, links
        self._names: dict[str, dict[str, str]] = {}
        self._keys: dict[tuple[str, str, str | None], str] = {}
        self._failed: dict[Path, Failed] = {}

    def make(self, stage: str, code: Code, inputs: Mapping[str, Made]) -> Made:
        """The result of ``stage`` with ``code``, made from ``inputs``, or found here.

        Args:
            inputs: the results of the stages that it is made from, by stage.

        Raises:
            Failed: the code can't run it.
        """
        needed = {name: inputs[name] for name in sorted(behind(stage) - {stage}) if name in inputs}
        key = sha256_bytes(
            canonical_json(
                {
                    "stage": stage,
                    "code": self._key(stage, code),
                    "config": self.config,
                    **({"links": dict(self.links)} if self.links else {}),
                    "inputs": {name: made.digest for name, made in needed.items()},
                    "versions": package_versions(),
                }
            ).encode()
        )[:16]
        folder = self.cache / f"{stage}-{key}"
        if not (folder / MADE).exists():
            if folder not in self._failed:
                try:
                    self._run(folder, stage, code, needed)
                except Failed as error:
                    self._failed[folder] = error
            if folder in self._failed:
                raise self._failed[folder]
        told = read_json(folder / MADE)
        made = Made(stage, folder / "results", told["names"], told["digest"])
        if sha256_file(made.folder / BY_NAME[stage].completion) != told["digest"]:
            raise UserError(f"{made.folder} was altered: remove {folder}, and it is made again")
        return made

    def names(self, code: Code) -> dict[str, str]:
        """What a revision calls the directories of the run."""
        if code.key not in self._names:
            self._names[code.key] = self.make("images", code, {}).names
        return self._names[code.key]

    def _key(self, stage: str, code: Code) -> str:
        known = (stage, code.key, code.commands.get(stage))
        if known not in self._keys:
            self._keys[known] = code.key_of(BY_NAME[stage])
        return self._keys[known]

    def _run(self, folder: Path, stage: str, code: Code, needed: Mapping[str, Made]) -> None:
        results = folder / "results"
        results.mkdir(parents=True, exist_ok=True)
        write_json(folder / "config.yaml", self.config)  # YAML includes JSON
        for name, place in self.links.items():
            if not (folder / name).exists():
                (folder / name).symlink_to(place)
        if needed:
            names = self.names(code)
            for made in needed.values():
                link(made, BY_NAME[made.stage].place(results, names))
        log = folder / "log.txt"
        if stage in code.commands:
            self._by_command(folder, stage, code, needed, log)
        else:
            self._by_code(folder, stage, code, log)
        names = _names_in(results)
        completion = BY_NAME[stage].place(results, names) / BY_NAME[stage].completion
        if not completion.is_file():
            raise Failed(f"{stage} by {code.name} wrote no {completion}")
        write_json(folder / MADE, {"names": names, "digest": sha256_file(completion)})

    def _by_command(
        self, folder: Path, stage: str, code: Code, needed: Mapping[str, Made], log: Path
    ) -> None:
        logs.say(f"{stage} by a command")
        results, names = folder / "results", self.names(code)
        inputs = {name: BY_NAME[name].place(results, names) for name in needed}
        plan = _newest_plan(self.make("images", code, {}).results)
        (results / PLANS).mkdir(exist_ok=True)
        shutil.copy(plan, results / PLANS / plan.name)
        out = BY_NAME[stage].place(results, names)
        if not run_command(code.commands[stage], inputs, out, log):
            raise failed(f"{stage} by a command", log)
        stamp_results(Plan.load(str(plan), str(results)), stage)

    def _by_code(self, folder: Path, stage: str, code: Code, log: Path) -> None:
        share_compiled(code.folder, [ROOT, *sorted(code.folder.parent.iterdir())])
        doing = f"{stage} with the code of {code.name}"
        logs.say(doing)
        command = command_line(code.folder, folder, self.cores, [stage], *AS_GIVEN)
        environment = {**own_environment(), "PYTHONPATH": str(code.folder)}
        with log.open("w") as said:
            done = subprocess.run(
                command, cwd=folder, env=environment, stdout=said, stderr=said, check=False
            )
        if done.returncode:
            raise failed(doing, log)


def link(made: Made, target: Path) -> None:
    """Link the files of a result into another folder of results. Folders are real."""
    for path in _files(made.folder):
        link_file(path, target / path.relative_to(made.folder))


def link_file(path: Path, placed: Path) -> None:
    """Link a file of a result. A stamp is copied, with a time that is older than all jobs.

    Snakemake compares times of stamps, and results of several runs were made in any order.
    """
    placed.parent.mkdir(parents=True, exist_ok=True)
    placed.unlink(missing_ok=True)
    if path.suffix == DONE:
        shutil.copyfile(path, placed)
        os.utime(placed, (LONG_AGO, LONG_AGO))
    else:
        placed.symlink_to(path.resolve())


def _files(folder: Path) -> Iterator[Path]:
    """The files of a result, without those of results that lie inside of it."""
    for path in sorted(folder.iterdir()):
        if not path.is_dir():
            yield path
        elif not (NAME.fullmatch(path.name) or path.name in INNER):
            yield from _files(path)


def command_line(
    code: Path, folder: Path, cores: int, targets: list[str], *options: str
) -> list[str]:
    """Snakemake on the workflow in ``code``, in ``folder``."""
    return [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(code / "Snakefile")),
        *("--directory", str(folder), "--cores", str(cores)),
        *options,
        *("--", *targets),
    ]


def own_environment() -> dict[str, str]:
    """The environment for a workflow of its own, also if this program runs in one."""
    return {k: v for k, v in os.environ.items() if k not in (PLAN_VARIABLE, "SNAKEMAKE_PROFILE")}


def failed(doing: str, log: Path) -> Failed:
    """The error of a run of the workflow, from what it said."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [
        line for line in lines if re.match(r"\s*(internal )?error|\s+- ", line, re.I)
    ] or lines
    shown = "; ".join(line.strip() for line in errors[:SHOWN_LINES])
    return Failed(f"{doing} failed: {shown} (log: {log})")


def _names_in(results: Path) -> dict[str, str]:
    """The names of the directories of the only run of a plan."""
    return {kind: name for kind, name in _loaded(_newest_plan(results))["runs"][0].items() if name}


def _newest_plan(results: Path) -> Path:
    plans = [p for p in (results / PLANS).glob("*.json") if "runs" in _loaded(p)]
    return max(plans, key=lambda path: path.stat().st_mtime)


def _loaded(path: Path) -> dict[str, Any]:
    held = json.loads(path.read_bytes())
    return held if isinstance(held, dict) else {}
