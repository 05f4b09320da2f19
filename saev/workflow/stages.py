"""The one table of stages: their directories, files, inputs, and what their jobs cost.

The rules, the plan, the `saev` command, the docs and the tests read it. File names come from the
`artifact.py` of each stage.
"""

from collections.abc import Iterator

from saev.activations import artifact as activations
from saev.activations import verified
from saev.analyze import artifact as analyze
from saev.compare import artifact as compare
from saev.core.meta import META, RUN
from saev.dashboard import artifact as dashboard
from saev.evaluate import artifact as evaluate
from saev.images import artifact as images
from saev.labels import artifact as labels
from saev.train import artifact as train
from saev.train import last_state
from saev.workflow.stage import Cost, Need, Rule, Stage

LEVELS = ("images", "vit", "sae", "analysis")
"""Kinds of components. The directory of each lies inside that of the one before."""
FORMER_LABELS = (labels.TABLE, ".label_images*")
"""What older versions wrote into each analysis: labels, which lie with the images now."""

SEALED = Need("seal_activations", looked_at=True)
LABELLED = Need("label_images", looked_at=True)
PAGE = Need("build_dashboard")
"""What writes beside a page follows it, so that the two never write at once."""

STAGES = (
    Stage(
        "images",
        ("images",),
        (
            Rule(
                "list_images",
                {"manifest": images.MANIFEST, "run": RUN, "meta": META},
                Cost(2000, 60, short=True),
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
                Cost(6000, 240, heavy=True, gpu=True, resumes=True),
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
                Cost(4000, 60, short=True),
                {"shards": Need("record_shard"), "images": Need("list_images")},
                doing="sealing {name}",
            ),
        ),
        reads="the manifest",
        component="vit",
        undeclared=(
            *("layer-*.cls", "layer-*.patches", "pooled", "rows", "records", "stats", "runs"),
            activations.MEANS,
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
                Cost(16000, 720, heavy=True, gpu=True, resumes=True),
                {"activations": Need("seal_activations")},
                doing="training {name}",
            ),
        ),
        reads="the activations",
        component="sae",
        undeclared=(train.HELD_OUT, last_state.FOLDER),
        resumable=True,
    ),
    Stage(
        "compare",
        ("images", "vit", "sae"),
        (
            Rule(
                "compare_curves",
                {"verdict": compare.VERDICT, "plot": compare.PLOT, "run": RUN, "meta": META},
                Cost(2000, 30, short=True),
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
        "labels",
        ("images",),
        (
            Rule(
                "label_images",
                {"labels": labels.TABLE, "run": RUN, "meta": META},
                Cost(4000, 60, short=True),
                {"images": Need("list_images")},
                doing="reading the labels of {name}",
            ),
        ),
        reads="the manifest, tables of labels",
        component="labels",
        inside=f"{labels.FOLDER}/{{labels}}",
        looked_at=True,
    ),
    Stage(
        "analyze",
        LEVELS,
        (
            Rule(
                "analyze_shards",
                {"part": analyze.PART_JSON},
                Cost(8000, 240, heavy=True, gpu=True),
                {
                    "checkpoint": Need("train_sae"),
                    "activations": SEALED,
                    "labels": LABELLED,
                },
                each="part",
                doing="analysing part {number} for {name}",
            ),
            Rule(
                "merge_analysis",
                {"latents": analyze.LATENTS, "table": analyze.TABLE, "run": RUN, "meta": META},
                Cost(8000, 240, heavy=True, gpu=True),
                {
                    "parts": Need("analyze_shards"),
                    "checkpoint": Need("train_sae"),
                    "activations": SEALED,
                    "labels": LABELLED,
                },
                doing="merging {name}",
            ),
        ),
        reads="the checkpoint, the activations, the labels",
        component="analysis",
        undeclared=(*FORMER_LABELS, analyze.CODES),
        described={analyze.PARTS: True, analyze.CODES: True},
        resumable=True,
    ),
    Stage(
        "evaluate",
        LEVELS,
        (
            Rule(
                "evaluate_dictionary",
                {"figures": evaluate.FIGURES, "table": evaluate.TABLE, "run": RUN, "meta": META},
                Cost(8000, 240, heavy=True, gpu=True),
                {
                    "analysis": Need("merge_analysis"),
                    "checkpoint": Need("train_sae"),
                    "activations": SEALED,
                    "labels": LABELLED,
                    "images": Need("list_images", looked_at=True),
                    "seeds": Need("train_sae", seeds=True),
                },
                doing="evaluating {name}",
            ),
        ),
        reads="the analysis, the checkpoint, the activations, the labels, the images",
        component="evaluation",
        inside=f"{evaluate.FOLDER}/{{evaluation}}",
        undeclared=(evaluate.PARTNERS, evaluate.BY_CLASS),
        resumable=True,
    ),
    Stage(
        "dashboard",
        LEVELS,
        (
            Rule(
                "build_dashboard",
                {"page": dashboard.PAGE, "summary": dashboard.SUMMARY},
                Cost(6000, 240, heavy=True, gpu=True),
                {
                    "analysis": Need("merge_analysis"),
                    "activations": SEALED,
                    "images": Need("list_images", looked_at=True),
                    "evaluations": Need("evaluate_dictionary", evaluations=True),
                },
                doing="building the page of {name}",
                by=("on",),
            ),
            Rule(
                "score_names",
                {"scores": evaluate.SCORES},
                Cost(6000, 240, heavy=True, gpu=True),
                {
                    "page": PAGE,
                    "analysis": Need("merge_analysis"),
                    "checkpoint": Need("train_sae"),
                    "activations": SEALED,
                },
                doing="scoring the names of {name}",
                by=LEVELS,
                module="saev.evaluate.score_names",
            ),
            Rule(
                "finish_page",
                {
                    "given": dashboard.GIVEN,
                    "shown": dashboard.REPORT_RUN,
                    "curves": f"{dashboard.REPORT}/{train.PLOT}",
                },
                Cost(2000, 30, short=True),
                {"page": PAGE, "scores": Need("score_names")},
                doing="finishing the page of {name}",
                by=("analysis",),
                module="saev.dashboard.finish_page",
            ),
            Rule(
                "project_directions",
                {"projection": dashboard.PROJECTION},
                Cost(4000, 120),
                {
                    "page": PAGE,
                    "analysis": Need("merge_analysis"),
                    "checkpoint": Need("train_sae"),
                },
                doing="placing the latents of {name} by their directions",
                by=("analysis",),
                module="saev.dashboard.projection",
            ),
        ),
        reads="the analysis, the images, evaluations",
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
                Cost(2000, 30, short=True),
                {
                    "analyses": Need("merge_analysis"),
                    "pages": Need("build_dashboard"),
                    "trainings": Need("train_sae"),
                },
                doing="building the page of all runs",
                by=(),
            ),
            Rule(
                "show_sweeps",
                {"shown": dashboard.REPORT_SWEEPS},
                Cost(2000, 30, short=True),
                {"page": Need("build_gallery")},
                doing="drawing the sweeps for the report",
                by=(),
                module="saev.dashboard.show_sweeps",
            ),
        ),
        reads="all runs",
        completion=dashboard.PAGE,
        undeclared=(dashboard.COSTS,),
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


def behind(name: str) -> set[str]:
    """The names of a stage and of all stages that it is made from."""
    needed = {RULES[need.rule][0].name for r in BY_NAME[name].rules for need in r.needs.values()}
    return {name}.union(*(behind(other) for other in needed - {name}))


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
