"""What the table of stages says of a stage: its rules, their inputs, files and costs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from saev.core.made import DONE, MADE
from saev.core.meta import META, RUN
from saev.core.once import stamp_name


@dataclass(frozen=True)
class Need:
    """An input: the results of all jobs of another rule."""

    rule: str
    looked_at: bool = False
    """For the images that an analysis looks at. They may differ from those trained on."""
    seeds: bool = False
    """For the dictionaries with other seeds that an evaluation compares with."""
    evaluations: bool = False
    """For all evaluations of an analysis, whichever run names them."""


@dataclass(frozen=True)
class Cost:
    """What a job requests at its first attempt, at least. See `saev.workflow.requests`."""

    mem_mb: int
    minutes: int
    heavy: bool = False
    """Whether it uses all threads that the run was given."""
    gpu: bool = False
    """Whether it uses a GPU, if the settings say so."""
    short: bool = False
    """Whether it takes seconds for a small data set: too short to wait in a queue for."""
    resumes: bool = False
    """Whether a job that ran out of time goes on where it was, so that it needs no more time."""


@dataclass(frozen=True)
class Rule:
    """A rule, and the files that its jobs write into the directory of its stage.

    Snakemake only sees the stamp of a job (`saev.core.once`), so it never deletes these files.
    """

    name: str
    outputs: Mapping[str, str]
    cost: Cost
    needs: Mapping[str, Need] = field(default_factory=dict)
    doing: str = ""
    """What a job does, for the log: ``{name}`` is a component, ``{number}`` a shard or part."""
    each: str | None = None
    """``shard`` or ``part``: one job for each, with its number for ``{number}`` in the outputs."""
    made: bool = False
    """Whether a rule of the user may make its input (`made: true`) and so must run first."""
    by: tuple[str, ...] | None = None
    """Kinds of components whose names its parameter has in the plan; None: that of its stage."""
    module: str = ""
    """Its program, if that isn't its stage's. Then its parameter is its own, it has jobs only where
    the plan has one, and a change of its code reruns nothing else of the stage."""

    @property
    def stamp(self) -> str:
        """Name of the stamp of its jobs, with ``{number}`` if it has several."""
        return stamp_name(self.name, "{number}" if self.each else "")


@dataclass(frozen=True)
class Stage:
    """One stage. ``name`` is its package, rule file, target, and ``stage`` in `meta.json`."""

    name: str
    levels: tuple[str, ...]
    """Components whose directories contain it, the outermost first."""
    rules: tuple[Rule, ...]
    reads: str
    """Its inputs, for the docs."""
    component: str | None = None
    """Kind of component whose settings it uses; None if it has no settings of its own."""
    inside: str = ""
    """Its folder inside the innermost directory; empty if it is that directory itself."""
    completion: str = META
    """The file that is written last."""
    undeclared: tuple[str, ...] = ()
    """Patterns of further files and folders that it writes."""
    described: Mapping[str, bool] = field(default_factory=dict)
    """Folders whose `.json` files list files with size and SHA-256; True if the files are large."""
    resumable: bool = False
    """Whether a stopped job leaves a state in `.state/`, from which the next try resumes."""
    on_request: bool = False
    """Whether it is made only when you name its target."""
    looked_at: bool = False
    """Whether it belongs to the images that an analysis looks at, not to those trained on."""
    package: str = ""
    """Its package, if its name differs from the stage's."""

    @property
    def module(self) -> str:
        """The module for ``python -m``."""
        return f"saev.{self.package or self.name}"

    @cached_property
    def folder(self) -> str:
        """Its directory, with the names of components as wildcards."""
        parts = ["results", *(f"{{{level}}}" for level in self.levels), self.inside]
        return "/".join(part for part in parts if part)

    @property
    def of_images(self) -> bool:
        """Whether it depends only on images and a tower. An analysis may use other images."""
        return len(self.levels) <= 2

    def runs_of(self, run: Mapping[str, str]) -> Iterator[dict[str, str]]:
        """The names of components with which it is made for a run: none, one, or one for each set
        of images."""
        if self.component in (None, *run):
            if not self.looked_at:
                yield dict(run)
            if self.looked_at or self.of_images:
                yield {**run, "images": run["on"]}

    def place(self, results: Path, names: Mapping[str, str]) -> Path:
        """Its directory, given the names of components. Ignores names it doesn't need."""
        return Path(results, self.folder.format(**names).partition("/")[2])

    @property
    def own(self) -> tuple[str, ...]:
        """Patterns of all files and folders that it writes into its directory."""
        declared = {name.split("/")[0] for rule in self.rules for name in rule.outputs.values()} - {
            META,
            RUN,
        }
        records = [f".{rule.name}*{ending}" for rule in self.rules for ending in (DONE, MADE)]
        return (*sorted(declared), *records, *self.undeclared)
