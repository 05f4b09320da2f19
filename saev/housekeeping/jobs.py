"""The jobs of a plan and the files that each declares, as the rules have them."""

from pathlib import Path
from typing import NamedTuple

from saev.artifacts import analysis as looked
from saev.artifacts import dashboard as page
from saev.artifacts import sae
from saev.artifacts.activations import RECORDS, STATS, shard_json
from saev.artifacts.images import MANIFEST
from saev.artifacts.meta import META, RUN
from saev.plan import Plan


class Job(NamedTuple):
    """One job of the workflow."""

    rule: str
    folder: Path
    """The directory that it writes into, where its resumable state lies too."""
    outputs: tuple[Path, ...]
    inputs: tuple[Path, ...]
    ready: str | None = None
    """File that another rule makes first, if that isn't there."""
    number: int = 0
    """Of the shard or part."""


def jobs(plan: Plan) -> list[Job]:
    """All jobs of a plan, each once, after those that it needs."""
    found: dict[tuple[Path, ...], Job] = {}
    for run in plan.runs:
        for job in _of_run(plan, run):
            found.setdefault(job.outputs, job)
    pages = tuple(p for job in found.values() if job.rule == "build_dashboard" for p in job.outputs)
    results = Path(plan.results)
    return [*found.values(), Job("build_gallery", results, (results / page.PAGE,), pages)]


def missing(planned: list[Job]) -> list[Job]:
    """Those of ``planned`` whose files aren't all there, and those that come after them."""
    made: set[Path] = set()
    found = []
    for job in planned:
        if made.intersection(job.inputs) or not all(path.exists() for path in job.outputs):
            made.update(job.outputs)
            found.append(job)
    return found


def complete(planned: list[Job], folder: Path) -> bool:
    """Whether everything that jobs write into ``folder`` is there (and there is such a job)."""
    here = [path for job in planned if job.folder == folder for path in job.outputs]
    return bool(here) and all(path.exists() for path in here)


def _of_run(plan: Plan, run: dict[str, str]) -> list[Job]:
    results = Path(plan.results)
    made = []
    for images in (run["images"], run["on"]):
        made += _recording(plan, images, run["vit"])
    recording = results / run["images"] / run["vit"]
    on_images, on = results / run["on"], results / run["on"] / run["vit"]
    dictionary = recording / run["sae"]
    analysis = dictionary / run["analysis"]
    dashboard = analysis / "dashboard"
    train = ("train_sae", dictionary, (sae.CHECKPOINT, sae.CURVE, sae.FIGURE, RUN, META))
    trained = (dictionary / sae.CHECKPOINT, dictionary / META)
    made.append(_job(*train, (recording / META,)))
    made.append(_job("label_images", analysis, (looked.LABELS,), (on_images / META, on / META)))
    needs = (*trained, on / META, analysis / looked.LABELS)
    numbers = range(plan.n_parts(run["on"]))
    for number in numbers:
        made.append(_job("analyze_shards", analysis, (looked.part_json(number),), needs, number))
    parts = tuple(analysis / looked.part_json(number) for number in numbers)
    merged = (looked.LATENTS, looked.TABLE, RUN, META)
    made.append(_job("merge_analysis", analysis, merged, (*needs, *parts)))
    shown = (analysis / META, analysis / looked.LATENTS, on / META, on_images / META)
    made.append(_job("build_dashboard", dashboard, (page.PAGE, page.SUMMARY), shown))
    return made


def _recording(plan: Plan, images: str, vit: str) -> list[Job]:
    folder = Path(plan.results, images)
    recording = folder / vit
    numbers = range(plan.n_shards(images, vit))
    listing = _job("list_images", folder, (MANIFEST, RUN, META), ())
    shards = [
        _job("record_shard", recording, (shard_json(n),), (folder / META,), n) for n in numbers
    ]
    needs = (folder / META, *(recording / shard_json(n) for n in numbers))
    return [
        listing._replace(ready=plan.component("images", images)["ready"]),
        *(job._replace(ready=plan.component("vit", vit)["ready"]) for job in shards),
        _job("seal_activations", recording, (RECORDS, STATS, RUN, META), needs),
    ]


def _job(
    rule: str, folder: Path, names: tuple[str, ...], inputs: tuple[Path, ...], number: int = 0
) -> Job:
    return Job(rule, folder, tuple(folder / name for name in names), inputs, number=number)
