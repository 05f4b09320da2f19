"""`saev plan`: the jobs still to do, how much they write, and how long they may take."""

import os
import shutil
import socket
from collections import Counter
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from saev.core.errors import UserError
from saev.core.files import read_json
from saev.core.meta import RUN
from saev.core.once import stamp_name
from saev.core.progress import duration, quantity
from saev.dashboard.artifact import PROJECTED, REPORT_RUN
from saev.settings.elsewhere import CHECKPOINT, AnySaeEntry
from saev.settings.vit import VitSettings
from saev.tools import texts, tree
from saev.tools.rerun import starts
from saev.workflow import jobs
from saev.workflow.known_towers import vision_config
from saev.workflow.plan import Plan

BUILD = "build_dashboard"


class Shape(NamedTuple):
    """Shape of a tower: blocks, width of a token, patches per image, width of its output."""

    blocks: int | None
    width: int | None
    patches: int | None
    pooled: int | None


class Work(NamedTuple):
    """An amount of work (None if unknown), and the rates of similar work on this machine."""

    what: str
    amount: int | None
    unit: str
    rates: list[float]


def lines(plan: Plan, settings: str, cores: int | None) -> list[str]:
    """The whole report."""
    planned = jobs.jobs(plan)
    missing = jobs.missing(planned)
    beside = _beside(plan, planned, missing)
    left, pages = (sum(column) for column in zip(*beside.values(), strict=True))
    makers = len(_other_rules(missing))
    todo, total = len(missing) + makers + left, len(planned) + makers + pages
    runs = texts.count(len(plan.runs), "run")
    text = [f"{settings}: {runs}, {todo:,} of {total:,} jobs to do"]
    if missing:
        text += ["", *_jobs(planned, missing, beside), "", *_bytes(plan, missing)]
        text += ["", *_times(plan, missing, cores or os.cpu_count() or 1)]
    return [
        *text,
        "",
        "This looks only at which files exist. For results made by older code, see saev run -n.",
    ]


def _other_rules(missing: list[jobs.Job]) -> list[str]:
    """Images that a rule outside of saev must make first."""
    found = {job.ready for job in missing if job.ready and not Path(job.ready).exists()}
    return sorted(found)


def _beside(
    plan: Plan, planned: list[jobs.Job], missing: list[jobs.Job]
) -> dict[str, tuple[int, int]]:
    """How many jobs of each rule put files beside pages: those to do, and all."""
    pages = [job.folder for job in planned if job.rule == BUILD]
    again = {job.folder for job in missing if job.rule == BUILD}
    asked, named = (plan.data["specs"][of] for of in ("projections", "names"))
    results = Path(plan.results)
    scored = [one for one in pages if one.parent.relative_to(results).as_posix() in named]
    wanted = {
        "score_names": (stamp_name("score_names"), scored),
        "finish_page": (REPORT_RUN, pages),
        "project_directions": (PROJECTED, [one for one in pages if one.parent.name in asked]),
    }
    return {
        rule: (sum(one in again or not (one / made).exists() for one in folders), len(folders))
        for rule, (made, folders) in wanted.items()
    }


def counts(missing: list[jobs.Job]) -> dict[str, int]:
    """Jobs by rule."""
    return dict(Counter(job.rule for job in missing))


def _jobs(
    planned: list[jobs.Job], missing: list[jobs.Job], beside: dict[str, tuple[int, int]]
) -> list[str]:
    total, left = counts(planned), counts(missing)
    rows = [["job", "to do", "of"]]
    rows += [[f"rule that makes {source}", "1", "1"] for source in _other_rules(missing)]
    rows += [[rule, f"{left[rule]:,}", f"{total[rule]:,}"] for rule in total if rule in left]
    rows += [[rule, f"{left:,}", f"{pages:,}"] for rule, (left, pages) in beside.items() if left]
    return texts.table(rows, right={1, 2})


def recording_bytes(plan: Plan, images: str, vit: str, rows: int) -> int | None:
    """Size in bytes of the activations of ``rows`` images; None if the tower's shape is unknown."""
    settings = plan.settings("vit", vit)
    shape = tower_shape(plan, vit)
    numbers = 0
    for kind in settings.tokens:
        width = shape.pooled if kind == "pooled" else shape.width
        vectors = shape.patches if kind == "patches" else 1
        streams = 1 if kind == "pooled" else n_layers(settings, shape)
        if width is None or vectors is None or streams is None:
            return None
        means = kind == "patches"  # of one layer
        numbers += (streams * vectors + means) * width
    return rows * numbers * (4 if settings.dtype == "float32" else 2)


def n_layers(settings: VitSettings, shape: Shape) -> int | None:
    """Number of distinct blocks to record (−1 and the last block are the same)."""
    layers = settings.layers
    if shape.blocks is not None:
        return len({layer % shape.blocks for layer in layers})
    return len(layers) if all(layer >= 0 for layer in layers) else None


def tower_shape(plan: Plan, vit: str) -> Shape:
    """Shape of a tower, from a recording of the same tower or from open_clip's configuration."""
    settings, identity = plan.settings("vit", vit), plan.identity("vit", vit)
    for folder in _recordings(Path(plan.results)):
        known = _recorded(folder)
        if known and _same_tower(known["settings"], identity):
            return _shape_of(known["tower"], settings)
    return _configured(settings)


def _configured(settings: VitSettings) -> Shape:
    config = vision_config(settings.model)
    if "timm_model_name" in config:
        return Shape(None, None, None, None)
    side, patch = settings.image_size or config.get("image_size"), config.get("patch_size")
    patches = (side // patch) ** 2 if isinstance(side, int) and isinstance(patch, int) else None
    names = ("layers", "width", "embed_dim")
    blocks, width, pooled = (_whole(config.get(name)) for name in names)
    return Shape(blocks, width, patches, pooled)


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _shape_of(tower: dict[str, Any], settings: VitSettings) -> Shape:
    widths = {s["kind"]: s["d"] for s in tower["streams"].values()}
    rows, columns = tower["geometry"]["grid"]
    other = _configured(settings)
    width = widths.get("patches", widths.get("cls", other.width))
    return Shape(tower["n_blocks"], width, rows * columns, widths.get("pooled", other.pooled))


def _same_tower(a: dict[str, Any], b: dict[str, Any]) -> bool:
    names = ("model", "model_sha256", "image_size")
    return all(a.get(name) == b.get(name) for name in names)


def _recordings(results: Path) -> list[Path]:
    if not results.is_dir():
        return []
    return [vit for images in tree.children(results) for vit in tree.children(images)]


def _recorded(folder: Path) -> dict[str, Any] | None:
    """Settings and tower of a complete recording."""
    try:
        meta = tree.read(folder, "activations")
        summary = meta["summary"]
        tower = {key: summary[key] for key in ("streams", "geometry", "n_blocks")}
        return {"settings": meta["settings"], "tower": tower}
    except (UserError, KeyError):
        return None


def _bytes(plan: Plan, missing: list[jobs.Job]) -> list[str]:
    """What each recording will write, and the free space."""
    rows = [["to write", "images", "activations"]]
    total: int | None = 0
    for folder, positions in _positions(plan, missing).items():
        size = recording_bytes(plan, folder.parent.name, folder.name, positions)
        shown = "unknown until the tower is loaded" if size is None else ""
        rows.append(
            [str(folder), f"{positions:,}", shown or f"{texts.size(size or 0)} ({size:,} B)"]
        )
        total = None if total is None or size is None else total + size
    if len(rows) == 1:
        return ["no activations to write"]
    place = next(
        p for p in (Path(plan.results), *Path(plan.results).absolute().parents) if p.exists()
    )
    free = shutil.disk_usage(place).free
    said = "" if total is None else f"{texts.size(total)} of activations; "
    return [*texts.table(rows, right={1}), f"{said}{texts.size(free)} are free on that disk"]


def _positions(plan: Plan, missing: list[jobs.Job]) -> dict[Path, int]:
    """Number of images to record, by directory."""
    found: dict[Path, int] = {}
    for job in missing:
        if job.rule != "record_shard":
            continue
        shard = plan.component("vit", job.folder.name)["shard_images"]
        n_images = plan.component("images", job.folder.parent.name)["n_images"]
        size = min((job.number + 1) * shard, n_images) - job.number * shard
        found[job.folder] = found.get(job.folder, 0) + size
    return found


def _times(plan: Plan, missing: list[jobs.Job], cores: int) -> list[str]:
    works = work(plan, missing)
    threads = plan.data["compute"]["threads"] or cores
    side_by_side = max(1, cores // threads)
    rows, total, unknown = [["to do", "amount", "rate here", "time"]], 0.0, False
    for one in works:
        amount = "unknown" if one.amount is None else f"{one.amount:,} {one.unit}"
        rate, time = "no rate measured yet", "unknown"
        if one.rates:
            rate = f"{quantity(median(one.rates))} {one.unit}/s"
        if one.rates and one.amount is not None:
            seconds = one.amount / median(one.rates)
            total, time = total + seconds, duration(seconds)
        unknown = unknown or time == "unknown"
        rows.append([one.what, amount, rate, time])
    each = starts(Path(plan.results))
    amount, rate, time = f"{len(missing):,} jobs", "no start measured yet", "unknown"
    if each:
        seconds = len(missing) * median(each)
        rate, time, total = f"{median(each):.1f} s each", duration(seconds), total + seconds
    unknown = unknown or not each
    rows.append(["start jobs", amount, rate, time])
    end = f"{'at least ' * unknown}{duration(total / side_by_side)} in total on {cores} cores"
    if total == 0:
        end = "total time unknown"
    return [*texts.table(rows, right={1, 2, 3}), f"{end}, plus the time to make pages"]


def work(plan: Plan, missing: list[jobs.Job]) -> list[Work]:
    """The work that takes long (recording, training, analysis), with rates of similar work here."""
    results, found = Path(plan.results), []
    for folder, positions in _positions(plan, missing).items():
        settings = plan.identity("vit", folder.name)
        rates = [
            rate
            for other in _recordings(results)
            if (known := _recorded(other)) and _same_tower(known["settings"], settings)
            for rate in _rates(sorted(other.glob("runs/shard-*.json")), "images_per_second")
        ]
        found.append(Work(f"record {_short(folder)}", positions, "images", rates))
    done = Done(results)
    for job in missing:
        parts = job.folder.relative_to(results).parts
        if (
            job.rule == "train_sae"
            and CHECKPOINT not in plan.component("sae", parts[2])["settings"]
        ):
            found.append(_training(plan, done, job.folder, *parts))
        if job.rule == "merge_analysis":
            found.append(_analysis(plan, done, job.folder, *parts))
    return found


def _short(folder: Path) -> str:
    return "/".join(folder.parts[-2:])


class Done:
    """The trained dictionaries and the rates at which they were made, read once for all jobs."""

    def __init__(self, results: Path) -> None:
        self._settings: dict[Path, dict[str, Any]] = {}
        self._rates: dict[tuple[Any, ...], list[float]] = {}
        for recording in _recordings(results):
            for folder in tree.children(recording):
                with suppress(UserError):
                    self._settings[folder] = tree.read(folder, "train")["settings"]

    def rates(
        self, settings: AnySaeEntry, names: tuple[str, ...], runs: str, rate: str
    ) -> list[float]:
        """A rate from the ``runs`` of dictionaries that have the same values of some settings."""
        wanted = [getattr(settings, name, None) for name in names]
        key = (rate, *wanted)
        if key not in self._rates:
            alike = [
                folder
                for folder, known in self._settings.items()
                if [known.get(name) for name in names] == wanted
            ]
            paths = [path for folder in alike for path in sorted(folder.glob(runs))]
            self._rates[key] = _rates(paths, rate)
        return self._rates[key]


def _training(plan: Plan, done: Done, folder: Path, images: str, vit: str, sae: str) -> Work:
    settings = plan.settings("sae", sae)
    vectors = _vectors(plan, images, vit, settings)
    kept = settings.epochs * (1 - settings.held_out)
    amount = None if vectors is None else round(vectors * kept)
    names = ("architecture", "n_latents", "batch_size", "tokens")
    what = f"train {_short(folder)}"
    rates = done.rates(settings, names, RUN, "examples_per_second")
    return Work(what, amount, "vectors", rates)


def _analysis(
    plan: Plan, done: Done, folder: Path, images: str, vit: str, sae: str, name: str
) -> Work:
    settings = plan.settings("sae", sae)
    looked_at = plan.component("analysis", name)["on"] or images
    names = ("architecture", "n_latents", "tokens")
    what = f"analyse {_short(folder)}"
    amount = _vectors(plan, looked_at, vit, settings)
    rates = done.rates(settings, names, f"*/{RUN}", "vectors_per_second")
    return Work(what, amount, "vectors", rates)


def _vectors(plan: Plan, images: str, vit: str, sae: AnySaeEntry) -> int | None:
    n_images = plan.component("images", images)["n_images"]
    each = tower_shape(plan, vit).patches if sae.tokens == "patches" else 1
    return None if each is None else n_images * each


def _rates(paths: list[Path], name: str) -> list[float]:
    """Rates on this machine, from files like `run.json`."""
    found = []
    for path in paths:
        try:
            run = read_json(path)
        except UserError:
            continue
        if isinstance(run, dict) and run.get("host") == socket.gethostname() and run.get(name):
            found.append(float(run[name]))
    return found
