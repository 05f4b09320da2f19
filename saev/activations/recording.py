"""Record one shard: run a tower over its images, block by block."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from saev.activations.artifact import MEANS, Stream, compared, shard_json, to_float32
from saev.activations.block_writer import BlockWriter
from saev.activations.depth import depths_of
from saev.activations.forward import passes, stored
from saev.activations.loading import batches
from saev.activations.resolved import vit_settings
from saev.activations.shards import ShardState
from saev.activations.towers.tower import Tower, load_tower
from saev.core import logs
from saev.core.blocks import BLOCK
from saev.core.errors import UserError, listed, printable
from saev.core.files import write_json
from saev.core.machine import job_device, kind
from saev.core.progress import Progress
from saev.core.spec import Spec
from saev.core.state import STATE, state
from saev.images.artifact import Images
from saev.settings.vit import VitSettings

LISTED_IMAGES = 10_000
DISK_SLACK = 64 << 20
"""Extra free bytes to require, for records, statistics and logs."""


def record(
    spec: Spec,
    images: Images,
    shard: int,
    out: Path,
    workers: int,
    threads: int,
    on_bad: str,
    device: str,
) -> dict[str, Any]:
    """Record one shard. Writes its sidecar last.

    Args:
        spec: settings and code.
        images: the listing.
        shard: number of the shard.
        out: directory of the activations.
        workers: number of threads that decode images.
        threads: number of threads that compute statistics and digests.
        on_bad: ``error`` or ``skip``.
        device: ``auto``, ``cpu`` or ``cuda``.

    Returns:
        rate and device, for `runs/`.

    Raises:
        UserError: there are bad images, a value that ``dtype`` can't hold, too little disk space,
            or the tower can't be loaded.
    """
    settings = vit_settings(spec)
    start = shard * settings.shard_images
    stop = min(start + settings.shard_images, images.n_images)
    if not 0 <= start < stop:
        raise UserError(f"there is no shard {shard}: {images.path} has {images.n_images:,} images")
    place = job_device(device)
    tower = load_tower(settings, place)
    (logs.say if shard == 0 else logs.note)(tower.describe())
    streams = tuple(dict.fromkeys((*tower.streams, compared(tower.streams))))
    require_disk(out, images.n_images, settings, streams)
    dtype = np.dtype(np.uint16 if settings.dtype == "bfloat16" else settings.dtype)
    key = (shard, spec, images.digest, kind(place), tower.summary())
    with state(out, *key) as held:
        made = ShardState(held.folder, out, shard, streams, dtype, stop - start)
        progress = Progress(
            stop - start, "images", f"recording shard {shard}", done=len(made.blocks) * BLOCK
        )
        record_blocks(
            made, tower, images, (start, stop), settings, workers, threads, on_bad, progress
        )
        entries = made.finish()
        n_rows = made.n_rows
        write_json(
            out / shard_json(shard),
            {
                "format_version": 1,
                "shard": shard,
                "start": start,
                "stop": stop,
                "rows": n_rows,
                "skipped": stop - start - n_rows,
                "dtype": settings.dtype,
                "images": images.digest,
                "tower": tower.summary(),
                "files": entries,
            },
        )
        held.discard()
    found = depths_of([record for block in made.blocks for record in block.records])
    commit = tower.backbone.commit
    return {
        "images_per_second": round(progress.rate(), 3),
        "device": kind(place),
        "depths": found._asdict(),
        **({"weights_commit": commit} if commit else {}),
    }


def record_blocks(
    shard: ShardState,
    tower: Tower,
    images: Images,
    span: tuple[int, int],
    settings: VitSettings,
    workers: int,
    threads: int,
    on_bad: str,
    progress: Progress,
) -> None:
    """Record the blocks that a shard still lacks: the rows ``span`` of the listing."""
    start, stop = span
    first = start + len(shard.blocks) * BLOCK
    bad = [_problem(images, r) for b in shard.blocks for r in b.records if r["skipped"]]
    means = next((stream for stream in shard.streams if stream.name == MEANS), None)
    records: list[dict[str, Any]] = []
    filled = 0
    warned = False
    decoded = batches(images, first, stop, tower.geometry, workers)
    skip_bad = on_bad == "skip"
    made = passes(tower, decoded, settings.dtype, skip_bad, running=skip_bad or not bad)
    with BlockWriter(shard, settings.dtype, threads) as writer:
        for batch, sent, _ in made:
            records += [image.record for image in batch.images]
            if not shard.shard and not warned:  # the first shard says it early, sealing of all
                doubts = depths_of(records).doubts(images.settings.gray_range)
                warned = bool(doubts)
                for doubt in doubts:
                    logs.say(f"warning (so far): {doubt}")
            bad += [_problem(images, p.record) for p in batch.images if p.pixels is None]
            if not bad or skip_bad:
                rows = [p.record["row"] for p in batch.images if p.pixels is not None]
                here = slice(filled, filled + len(rows))
                for stream in tower.streams if sent else ():
                    writer.values[stream.name][here] = sent[stream.name].array(stream, rows)
                if means and sent:
                    deepest = writer.values[f"layer-{means.layer:02}.patches"][here]
                    average = to_float32(deepest, settings.dtype).mean(axis=1)
                    kept = stored(torch.from_numpy(average), settings.dtype, means, rows)
                    writer.values[MEANS][here] = kept
                filled += len(rows)
                if len(records) == BLOCK or records[-1]["row"] == stop - 1:
                    writer.append(records, filled)
                    records, filled = [], 0
            progress.update(len(batch.images))
        writer.wait()
    if bad and on_bad != "skip":
        name = images.path.name.rpartition("-")[0] or images.path.name
        raise UserError(
            listed(
                bad,
                f"{len(bad):,} of the images {start:,} to {stop - 1:,} of {images.source.where} "
                f"can't be read:",
                LISTED_IMAGES,
            )
            + f"\nFix or remove them, or skip them: set images.{name}.on_bad_image to skip."
        )


def _problem(images: Images, record: dict[str, Any]) -> str:
    entry = images.read(record["row"], record["row"] + 1)[0]
    return f"{printable(entry.key)} (row {entry.row}): {record['skipped']}"


def require_disk(
    out: Path, n_images: int, settings: VitSettings, streams: tuple[Stream, ...]
) -> None:
    """Check that the missing shards fit on the disk.

    Raises:
        UserError: they don't fit; says how much is needed and how much is free.
    """
    item = 4 if settings.dtype == "float32" else 2
    per_image = sum(s.d * s.n_patches for s in streams) * item
    shards = range(-(-n_images // settings.shard_images))
    missing = [i for i in shards if not (out / shard_json(i)).exists()]
    positions = sum(
        min((i + 1) * settings.shard_images, n_images) - i * settings.shard_images for i in missing
    )
    begun = sum(p.stat().st_size for p in (out / STATE).rglob("*.npy"))
    needed = max(0, positions * per_image - begun) + DISK_SLACK
    existing = next(p for p in (out, *out.resolve().parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise UserError(
            f"the disk of {out} is too small: {_gigabytes(needed)} are needed for the "
            f"{positions:,} images still to record ({per_image:,} bytes each), but "
            f"{_gigabytes(free)} are free. Free some space, record fewer layers or tokens, or move "
            f"results/ to a larger disk"
        )


def _gigabytes(n: int) -> str:
    return f"{n / 1e9:,.1f} GB" if n >= 1e8 else f"{n / 1e6:,.1f} MB"
