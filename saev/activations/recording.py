"""Record one shard: run a tower over its images, block by block."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from saev.activations.artifact import MEANS, Stream, compared, shard_json, to_float32
from saev.activations.depth import depths_of
from saev.activations.loading import BATCH, batches
from saev.activations.moments import Moments
from saev.activations.resolved import vit_settings
from saev.activations.shards import ShardState
from saev.activations.towers.tower import Tower, load_tower
from saev.core import logs
from saev.core.blocks import BLOCK
from saev.core.errors import UserError, listed, printable
from saev.core.files import write_json
from saev.core.machine import job_device
from saev.core.progress import Progress
from saev.core.spec import Spec
from saev.core.state import STATE, state
from saev.images.artifact import Images
from saev.settings.vit import VitSettings

LISTED_IMAGES = 10_000
DISK_SLACK = 64 << 20
"""Extra free bytes to require, for records, statistics and logs."""


def record(
    spec: Spec, images: Images, shard: int, out: Path, workers: int, on_bad: str, device: str
) -> dict[str, Any]:
    """Record one shard. Writes its sidecar last.

    Args:
        spec: settings and code.
        images: the listing.
        shard: number of the shard.
        out: directory of the activations.
        workers: number of threads that decode images.
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
    key = (shard, spec, images.digest, place.type, tower.summary())
    with state(out, *key) as held:
        n_blocks = -(-(stop - start) // BLOCK)
        made = ShardState(held.folder, out, shard, streams, dtype, n_blocks)
        progress = Progress(
            stop - start, "images", f"recording shard {shard}", done=len(made.blocks) * BLOCK
        )
        record_blocks(made, tower, images, (start, stop), settings, workers, on_bad, progress)
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
    found = depths_of(record for block in made.blocks for record in block.records)
    commit = tower.backbone.commit
    return {
        "images_per_second": round(progress.rate(), 3),
        "device": place.type,
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
    on_bad: str,
    progress: Progress,
) -> None:
    """Record the blocks that a shard still lacks: the rows ``span`` of the listing."""
    start, stop = span
    first = start + len(shard.blocks) * BLOCK
    bad = [_problem(images, r) for b in shard.blocks for r in b.records if r["skipped"]]
    values = {s.name: np.empty(shard.shape(s, BLOCK), shard.dtype) for s in shard.streams}
    records: list[dict[str, Any]] = []
    filled = 0
    warned = False
    for batch in batches(images, first, stop, tower.geometry, workers):
        records += [image.record for image in batch.images]
        if not shard.shard and not warned:  # the first shard says it early, sealing says it of all
            doubts = depths_of(records).doubts(images.settings.gray_range)
            warned = bool(doubts)
            for doubt in doubts:
                logs.say(f"warning (so far): {doubt}")
        bad += [_problem(images, p.record) for p in batch.images if p.pixels is None]
        if not bad or on_bad == "skip":
            n = int(batch.present.sum())
            if n:
                outputs = tower(torch.from_numpy(batch.pixels))
                rows = [p.record["row"] for p in batch.images if p.pixels is not None]
                for stream in tower.streams:
                    # Run the whole batch and select afterwards, so that a bad image changes no
                    # other.
                    kept = outputs[stream.name][: len(batch.present)][
                        torch.from_numpy(batch.present)
                    ]
                    values[stream.name][filled : filled + n] = stored(
                        kept, settings.dtype, stream, rows
                    )
                if MEANS in values:
                    means = next(stream for stream in shard.streams if stream.name == MEANS)
                    deepest = values[f"layer-{means.layer:02}.patches"][filled : filled + n]
                    average = to_float32(deepest, settings.dtype).mean(axis=1)
                    values[MEANS][filled : filled + n] = stored(
                        torch.from_numpy(average), settings.dtype, means, rows
                    )
            filled += n
            if len(records) == BLOCK or records[-1]["row"] == stop - 1:
                block = {name: array[:filled] for name, array in values.items()}
                moments = {
                    s.name: _moments(block[s.name], s, settings.dtype) for s in shard.streams
                }
                shard.append(records, block, moments)
                records, filled = [], 0
        progress.update(len(batch.images))
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


def stored(values: torch.Tensor, dtype: str, stream: Stream, rows: list[int]) -> np.ndarray:
    """Convert float32 activations to the stored type.

    Args:
        values: (r, d) or (r, patches, d) float32.
        dtype: ``float16``, ``float32`` or ``bfloat16`` (returned as uint16).
        stream: for the message.
        rows: row ids, for the message.

    Raises:
        UserError: a value is NaN or infinite, before or after the conversion.
    """
    converted = values.to(getattr(torch, dtype))
    flat = converted.flatten(1)
    finite = torch.isfinite(flat).all(dim=1)
    if not bool(finite.all()):
        at = int(torch.nonzero(~finite)[0, 0])
        worst = float(values[at].abs().max())
        if not np.isfinite(worst):
            raise UserError(
                f"the tower gives NaN or infinite values ({stream.name}, row {rows[at]}): its "
                f"weights are damaged, or belong to another model"
            )
        raise UserError(
            f"the activation {worst:,.0f} of {stream.name}, row {rows[at]}, is too large for "
            f"{dtype} (at most {torch.finfo(getattr(torch, dtype)).max:,.0f}): set dtype to "
            f"float32 or bfloat16"
        )
    if dtype == "bfloat16":
        return converted.view(torch.int16).cpu().numpy().view(np.uint16)
    return converted.cpu().numpy()


def _moments(block: np.ndarray, stream: Stream, dtype: str) -> Moments:
    """Statistics of the stored values, a few images at a time to save memory."""
    total = Moments.empty(stream.d)
    for start in range(0, len(block), BATCH):
        part = block[start : start + BATCH].reshape(-1, stream.d)
        total = total.merged(Moments.of(to_float32(part, dtype)))
    return total


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
