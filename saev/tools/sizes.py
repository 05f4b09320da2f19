"""How many bytes the jobs still to do write, where that is much: activations, codes, images."""

import shutil
from pathlib import Path

from saev.analyze.artifact import PART
from saev.dashboard.artifact import LARGE_IMAGES
from saev.tools import texts
from saev.tools.tower_shapes import n_layers, tower_shape
from saev.workflow import jobs
from saev.workflow.plan import Plan

ROWS_OF_IMAGES = 48
"""Images that a page shows of each latent beside the top images."""
THUMBNAIL, LARGE = 8_000, 64_000
"""Roughly the bytes of an image on a page: the largest of three photographs of 512 pixels."""


def lines(plan: Plan, missing: list[jobs.Job]) -> list[str]:
    """What jobs will write, and the free space."""
    rows = [["to write", "images", "bytes"]]
    total: int | None = 0
    for folder, n_images in positions(plan, missing).items():
        size = recording_bytes(plan, folder.parent.name, folder.name, n_images)
        told = "unknown until the tower is loaded"
        if size is not None:
            told = f"{texts.size(size)} of activations ({size:,} B)"
        rows.append([str(folder), f"{n_images:,}", told])
        total = None if total is None or size is None else total + size
    said = [] if total is None or len(rows) == 1 else [f"{texts.size(total)} of activations"]
    pages = [job.folder for job in missing if job.rule == "build_dashboard"]
    shown = sum(page_bytes(plan, page) for page in pages)
    codes = codes_bytes(plan, missing)
    for what, size, most in (("codes", codes, "up to"), ("images on pages", shown, "up to about")):
        if size:
            rows.append([what, "", f"{most} {texts.size(size)}"])
            said.append(f"{most} {texts.size(size)} of {what}")
    if len(rows) == 1:
        return ["nothing large to write"]
    place = next(
        p for p in (Path(plan.results), *Path(plan.results).absolute().parents) if p.exists()
    )
    free = f"{texts.size(shutil.disk_usage(place).free)} are free on that disk"
    return [*texts.table(rows, right={1}), "; ".join([", ".join(said), free] if said else [free])]


def positions(plan: Plan, missing: list[jobs.Job]) -> dict[Path, int]:
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


def codes_bytes(plan: Plan, missing: list[jobs.Job]) -> int:
    """Size in bytes of the codes that analyses keep, at most."""
    found = 0
    for job in missing:
        if job.rule != "analyze_shards":
            continue
        images, vit, sae, name = job.folder.relative_to(plan.results).parts
        analysis, settings = plan.component("analysis", name), plan.settings("sae", sae)
        n_images = plan.component("images", analysis["on"] or images)["n_images"]
        size = min((job.number + 1) * PART, n_images) - job.number * PART
        limit = plan.settings("analysis", name).codes_gib * (1 << 30) * size / n_images
        each = tower_shape(plan, vit).patches if settings.tokens == "patches" else 1
        k = getattr(settings, "k", None)
        if k is not None and each is not None:
            entry = 6 if plan.n_latents(sae) <= 1 << 16 else 8
            limit = min(limit, size * each * (4 + entry * k))
        found += round(limit)
    return found


def page_bytes(plan: Plan, page: Path) -> int:
    """Size in bytes of the images of a page, about at most: of photographs, each on it once."""
    images, _, sae, name = page.parent.relative_to(plan.results).parts
    looked_at = plan.component("analysis", name)["on"] or images
    of_each = plan.settings("analysis", name).top_images + ROWS_OF_IMAGES
    shown = min(plan.component("images", looked_at)["n_images"], plan.n_latents(sae) * of_each)
    return int(shown) * (THUMBNAIL + (LARGE if shown <= LARGE_IMAGES else 0))
