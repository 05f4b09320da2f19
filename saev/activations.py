"""The `activations` stage: run a tower over the pictures, shard by shard, and seal the result."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from saev import logs, stage
from saev.artifacts.activations import STAGE, Stream, shard_json, to_float32
from saev.artifacts.images import Images
from saev.blocks import BLOCK
from saev.errors import UserError, listed
from saev.files import sha256_file, write_json
from saev.loading import BATCH, batches
from saev.progress import Progress
from saev.seal import seal
from saev.settings.images import ImagesSettings
from saev.settings.vit import VitSettings
from saev.shards import ShardState
from saev.statistics import Moments
from saev.vit import Tower, load_tower

LISTED_PICTURES = 10_000
DISK_SLACK = 64 << 20
"""Free bytes that are asked for on top: records, statistics, logs."""


def record(
    spec: stage.Spec, images: Images, shard: int, out: Path, workers: int, on_bad: str, device: str
) -> dict[str, Any]:
    """Record one shard; its sidecar is written last.

    Args:
        spec: settings and code.
        images: the listing.
        shard: number of the shard.
        out: directory of the activations.
        workers: threads that decode.
        on_bad: ``error`` or ``skip``.
        device: ``auto``, ``cpu`` or ``cuda``.

    Returns:
        volatile figures (rates) for `runs/`.

    Raises:
        UserError: bad pictures, values that the stored type can't hold, a full disk, a wrong tower.
    """
    settings = vit_settings(spec)
    start = shard * settings.shard_images
    stop = min(start + settings.shard_images, images.n_images)
    if not 0 <= start < stop:
        raise UserError(
            f"there is no shard {shard}: {images.path} has {images.n_images:,} pictures"
        )
    torch_device = stage.torch_device(device)
    tower = load_tower(settings, torch_device)
    (logs.say if shard == 0 else logs.note)(tower.describe())
    require_disk(out, images.n_images, settings, tower.streams)
    dtype = np.dtype(np.uint16 if settings.dtype == "bfloat16" else settings.dtype)
    key = (shard, spec, images.digest, torch_device.type, tower.summary())
    with stage.state(out, *key) as folder:
        n_blocks = -(-(stop - start) // BLOCK)
        state = ShardState(folder, out, shard, tower.streams, dtype, n_blocks)
        progress = Progress(
            stop - start, "images", f"recording shard {shard}", done=len(state.blocks) * BLOCK
        )
        _record_blocks(state, tower, images, (start, stop), settings, workers, on_bad, progress)
        entries = state.finish()
        n_rows = state.n_rows
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
        stage.discard(folder)
    return {"images_per_second": round(progress.rate(), 3), "device": torch_device.type}


def vit_settings(spec: stage.Spec) -> VitSettings:
    """Settings of the tower; what the plan added to them is checked."""
    given = dict(spec.settings)
    stated = given.pop("model_sha256", None)
    settings = VitSettings.model_validate_json(json.dumps(given))
    if stated is not None and sha256_file(settings.model) != stated:
        raise UserError(f"{settings.model} was changed while the workflow ran: start it again")
    return settings


def _record_blocks(
    state: ShardState,
    tower: Tower,
    images: Images,
    span: tuple[int, int],
    settings: VitSettings,
    workers: int,
    on_bad: str,
    progress: Progress,
) -> None:
    start, stop = span
    given = {k: v for k, v in images.settings.items() if k != "fingerprint"}
    max_pixels = ImagesSettings.model_validate_json(json.dumps(given)).max_pixels
    first = start + len(state.blocks) * BLOCK
    bad = [_problem(images, r) for b in state.blocks for r in b.records if r["skipped"]]
    values = {s.name: np.empty(state.shape(s, BLOCK), state.dtype) for s in state.streams}
    records: list[dict[str, Any]] = []
    filled = 0
    for batch in batches(images, first, stop, tower.geometry, max_pixels, workers):
        records += [picture.record for picture in batch.pictures]
        bad += [_problem(images, p.record) for p in batch.pictures if p.pixels is None]
        if not bad or on_bad == "skip":
            n = int(batch.present.sum())
            if n:
                outputs = tower(torch.from_numpy(batch.pixels))
                rows = [p.record["row"] for p in batch.pictures if p.pixels is not None]
                for stream in state.streams:
                    # Chosen on the batch as it was computed: a bad picture leaves its slot alone.
                    kept = outputs[stream.name][: len(batch.present)][
                        torch.from_numpy(batch.present)
                    ]
                    values[stream.name][filled : filled + n] = stored(
                        kept, settings.dtype, stream, rows
                    )
            filled += n
            if len(records) == BLOCK or records[-1]["row"] == stop - 1:
                block = {name: array[:filled] for name, array in values.items()}
                moments = {
                    s.name: _moments(block[s.name], s, settings.dtype) for s in state.streams
                }
                state.append(records, block, moments)
                records, filled = [], 0
        progress.update(len(batch.pictures))
    if bad and on_bad != "skip":
        name = images.path.name.rpartition("-")[0] or images.path.name
        raise UserError(
            listed(
                bad,
                f"{len(bad):,} of the pictures {start:,} to {stop - 1:,} of {images.source.where} can't be "
                f"read:",
                LISTED_PICTURES,
            )
            + f"\nMend or remove them, or leave them out: set images.{name}.on_bad_image to skip."
        )


def _problem(images: Images, record: dict[str, Any]) -> str:
    entry = images.read(record["row"], record["row"] + 1)[0]
    return f"{entry.key} (row {entry.row}): {record['skipped']}"


def stored(values: torch.Tensor, dtype: str, stream: Stream, rows: list[int]) -> np.ndarray:
    """Convert float32 activations to the type that they are stored in.

    Args:
        values: (r, d) or (r, patches, d) float32.
        dtype: ``float16``, ``float32`` or ``bfloat16`` (given back as uint16).
        stream: for the message.
        rows: row ids, for the message.

    Raises:
        UserError: a value is NaN or infinite, or becomes so.
    """
    converted = values.to(getattr(torch, dtype))
    flat = converted.flatten(1)
    finite = torch.isfinite(flat).all(dim=1)
    if not bool(finite.all()):
        at = int(torch.nonzero(~finite)[0, 0])
        worst = float(values[at].abs().max())
        if not np.isfinite(worst):
            raise UserError(
                f"the tower gives NaN or infinite values ({stream.name}, row {rows[at]}): its weights "
                f"are damaged, or not of this model"
            )
        raise UserError(
            f"the activation {worst:,.0f} of {stream.name}, row {rows[at]}, is too large for {dtype} "
            f"(at most {torch.finfo(getattr(torch, dtype)).max:,.0f}): set dtype to float32 or bfloat16"
        )
    if dtype == "bfloat16":
        return converted.view(torch.int16).cpu().numpy().view(np.uint16)
    return converted.cpu().numpy()


def _moments(block: np.ndarray, stream: Stream, dtype: str) -> Moments:
    """Statistics of the stored values, a few pictures at a time: patches of a block are many."""
    total = Moments.empty(stream.d)
    for start in range(0, len(block), BATCH):
        part = block[start : start + BATCH].reshape(-1, stream.d)
        total = total.merged(Moments.of(to_float32(part, dtype)))
    return total


def require_disk(
    out: Path, n_images: int, settings: VitSettings, streams: tuple[Stream, ...]
) -> None:
    """Refuse to start when the shards that are still missing don't fit.

    Raises:
        UserError: says how much is needed, and how much there is.
    """
    item = 4 if settings.dtype == "float32" else 2
    picture = sum(s.d * s.n_patches for s in streams) * item
    shards = range(-(-n_images // settings.shard_images))
    missing = [i for i in shards if not (out / shard_json(i)).exists()]
    positions = sum(
        min((i + 1) * settings.shard_images, n_images) - i * settings.shard_images for i in missing
    )
    begun = sum(p.stat().st_size for p in (out / stage.STATE).rglob("*.npy"))
    needed = max(0, positions * picture - begun) + DISK_SLACK
    existing = next(p for p in (out, *out.resolve().parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise UserError(
            f"the disk of {out} is too small: {_gigabytes(needed)} are needed for the {positions:,} "
            f"pictures still to be recorded ({picture:,} bytes each), {_gigabytes(free)} are free. "
            f"Free some, record fewer layers or tokens, or put results/ on a larger disk"
        )


def _gigabytes(n: int) -> str:
    return f"{n / 1e9:,.1f} GB" if n >= 1e8 else f"{n / 1e6:,.1f} MB"


def main(arguments: list[str]) -> None:
    """`record` one shard, or `seal` them all."""
    command, *rest = arguments or [""]
    if command not in ("record", "seal"):
        raise UserError(f"saev.activations: {command!r} is no command; allowed: record, seal")
    parser = stage.parser(f"{command.capitalize()} activations.")
    parser.add_argument("--images", required=True, help="directory results/{images}")
    parser.add_argument("--out", required=True, help="directory results/{images}/{vit}")
    if command == "record":
        parser.add_argument("--shard", required=True, type=int, help="number of the shard")
    args = parser.parse_args(rest)
    spec = stage.read_spec(args.spec)
    run = stage.Record(STAGE, spec, args.threads)
    images, out = Images(args.images), Path(args.out)
    if command == "seal":
        seal(spec, images, out, vit_settings(spec), run)
        return
    stage.set_threads(args.threads)
    compute = stage.compute()
    on_bad = compute["on_bad_image"].get(images.path.name, "error")
    figures = record(spec, images, args.shard, out, compute["workers"], on_bad, compute["device"])
    run.write(out / "runs", f"shard-{args.shard:05}.json", **figures)


if __name__ == "__main__":
    stage.run(main)
