"""The one table of stages: their directories, files, inputs, and what their jobs cost.

The rules, the plan, the `saev` command, the docs and the tests read it. File names come from the
`artifact.py` of each stage.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from saev.activations import artifact as activations
from saev.activations import verified
from saev.analyze import artifact as analyze
from saev.compare import artifact as compare
from saev.core.made import DONE, MADE
from saev.core.meta import META, RUN
from saev.core.once import stamp_name
from saev.dashboard import artifact as dashboard
from saev.images import artifact as images
from saev.train import artifact as train

LEVELS = ("images", "vit", "sae", "analysis")
"""Kinds of components. The directory of each lies inside that of the one before."""


@dataclass(frozen=True)
class Need:
    """An input: the results of all jobs of another rule."""

    rule: str
    looked_at: bool = False
    """For the images that an analysis looks at. They may differ from those trained on."""


@dataclass(frozen=True)
class Cost:
    """What a job requests at its first attempt. Later attempts request more memory and time."""

    mem_mb: int
    minutes: int
    heavy: bool = False
    """Whether it uses all threads that the run was given."""
    gpu: bool = False
    """Whether it uses a GPU, if the settings say so."""


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


SEALED = Need("seal_activations", looked_at=True)

STAGES = (
    Stage(
        "images",
        ("images",),
        (
            Rule(
                "list_images",
                {"manifest": images.MANIFEST, "run": RUN, "meta": META},
                Cost(2000, 60),
                made=True,
                doing="listing the images of {name}",
            ),
        ),
        reads="a folder, data set or tars",
        component="images",
    ),
    Stage(
        "activations",
        ("images", "vit"),
        (
            Rule(
                "record_shard",
                {"shard": activations.SHARD},
                Cost(6000, 240, heavy=True, gpu=True),
                {"images": Need("list_images")},
                each="shard",
                made=True,
                doing="recording shard {number} of {name}",
            ),
            Rule(
                "seal_activations",
                {
                    "records": activations.RECORDS,
                    "stats": activations.STATS,
                    "twins": activations.TWINS,
                    "run": RUN,
                    "meta": META,
                },
                Cost(4000, 60),
                {"shards": Need("record_shard"), "images": Need("list_images")},
                doing="sealing {name}",
            ),
        ),
        reads="the manifest",
        component="vit",
        undeclared=(
            *("layer-*.cls", "layer-*.patches", "pooled", "rows", "records", "stats", "runs"),
            *(analyze.BASELINES, verified.FOLDER),
        ),
        described={analyze.BASELINES: False},
        resumable=True,
    ),
    Stage(
        "train",
        ("images", "vit", "sae"),
        (
            Rule(
                "train_sae",
                {
                    "checkpoint": train.CHECKPOINT,
                    "curve": train.CURVE,
                    "plot": train.PLOT,
                    "run": RUN,
                    "meta": META,
                },
                Cost(16000, 720, heavy=True, gpu=True),
                {"activations": Need("seal_activations")},
                doing="training {name}",
            ),
        ),
        reads="the activations",
        component="sae",
        undeclared=(train.HELD_OUT,),
        resumable=True,
    ),
    Stage(
        "compare",
        ("images", "vit", "sae"),
        (
            Rule(
                "compare_curves",
                {"verdict": compare.VERDICT, "plot": compare.PLOT, "run": RUN, "meta": META},
                Cost(2000, 30),
                {"sae": Need("train_sae")},
                doing="comparing {name} with its reference",
            ),
        ),
        reads="`train.jsonl`, a reference",
        component="reference",
        inside="references/{reference}",
        on_request=True,
    ),
    Stage(
        "analyze",
        LEVELS,
        (
            Rule(
                "label_images",
                {"labels": analyze.LABELS},
                Cost(4000, 60),
                {"images": Need("list_images", looked_at=True), "activations": SEALED},
                doing="reading the labels for {name}",
            ),
            Rule(
                "analyze_shards",
                {"part": analyze.PART_JSON},
                Cost(8000, 240, heavy=True, gpu=True),
                {
                    "checkpoint": Need("train_sae"),
                    "activations": SEALED,
                    "labels": Need("label_images"),
                },
                each="part",
                doing="analyzing part {number} for {name}",
            ),
            Rule(
                "merge_analysis",
                {"latents": analyze.LATENTS, "table": analyze.TABLE, "run": RUN, "meta": META},
                Cost(8000, 240, heavy=True),
                {
                    "parts": Need("analyze_shards"),
                    "checkpoint": Need("train_sae"),
                    "activations": SEALED,
                    "labels": Need("label_images"),
                },
                doing="merging {name}",
            ),
        ),
        reads="the checkpoint, the activations",
        component="analysis",
        described={analyze.PARTS: True},
        resumable=True,
    ),
    Stage(
        "dashboard",
        LEVELS,
        (
            Rule(
                "build_dashboard",
                {"page": dashboard.PAGE, "summary": dashboard.SUMMARY},
                Cost(6000, 240, heavy=True),
                {
                    "analysis": Need("merge_analysis"),
                    "activations": SEALED,
                    "images": Need("list_images", looked_at=True),
                },
                doing="building the page of {name}",
            ),
        ),
        reads="the analysis, the images",
        inside=dashboard.FOLDER_NAME,
        completion=dashboard.SUMMARY,
        undeclared=("data", "pictures", RUN),
        resumable=True,
    ),
    Stage(
        "gallery",
        (),
        (
            Rule(
                "build_gallery",
                {"page": dashboard.PAGE},
                Cost(2000, 30),
                {
                    "analyses": Need("merge_analysis"),
                    "pages": Need("build_dashboard"),
                    "trainings": Need("train_sae"),
                },
                doing="building the page of all runs",
            ),
        ),
        reads="all runs",
        completion=dashboard.PAGE,
        package="dashboard",
    ),
)
"""In the order in which data flows."""

BY_NAME = {stage.name: stage for stage in STAGES}
RULES = {rule.name: (stage, rule) for stage in STAGES for rule in stage.rules}
"""Stage and rule by the rule's name."""


def stamp(rule: str) -> str:
    """The path of the stamp of a rule's jobs, with wildcards."""
    stage, found = RULES[rule]
    return f"{stage.folder}/{found.stamp}"


def of_level(level: int) -> Iterator[Stage]:
    """The stages that write into directories of a level (0 for images)."""
    return (stage for stage in STAGES if len(stage.levels) == level + 1)


def maker_of(level: int) -> Stage:
    """The stage that writes `meta.json` directly into directories of a level."""
    return next(stage for stage in of_level(level) if not stage.inside)


def upstream(name: str) -> Stage | None:
    """The stage that a name in ``inputs`` of `meta.json` (a stage or a component) refers to."""
    aliases = {"analysis": "analyze", "sae": "train"}
    return BY_NAME.get(aliases.get(name, name))


def as_markdown() -> list[str]:
    """The table in `docs/architecture.md`, one line per stage."""
    lines = ["| stage | rules | reads | writes, under `results/` |", "| --- | --- | --- | --- |"]
    for stage in STAGES:
        name = f"`{stage.name}`" + " (on request)" * stage.on_request
        rules = ", ".join(f"`{rule.name}`" for rule in stage.rules)
        files = ", ".join(f"`{file}`" for rule in stage.rules for file in rule.outputs.values())
        folder = stage.folder.partition("/")[2]
        writes = f"`{folder}/`: {files}" if folder else files
        lines.append(f"| {name} | {rules} | {stage.reads} | {writes} |")
    return lines
