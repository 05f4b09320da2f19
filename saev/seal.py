"""Seal recorded shards: check them, join their records and statistics, write `meta.json` last."""

from pathlib import Path
from typing import Any

import numpy as np

from saev import logs
from saev.artifacts.activations import (
    ALL_SHARDS,
    RECORDS,
    STAGE,
    STATS,
    Stream,
    altered_shard_files,
    shard_json,
    shard_records,
    shard_rows,
    shard_stats,
)
from saev.artifacts.images import Images
from saev.artifacts.meta import write_meta
from saev.errors import UserError, listed
from saev.files import atomic_path, read_json, sha256_bytes, write_bytes
from saev.settings.vit import VitSettings
from saev.shards import records_schema
from saev.stage import Record, Spec
from saev.statistics import Moments

DOMINANT = 0.5
"""Share of the variance in one dimension from which on people are warned."""


def seal(spec: Spec, images: Images, out: Path, settings: VitSettings, run: Record) -> None:
    """Write `images.parquet`, `stats.safetensors`, `run.json` and `meta.json`.

    Raises:
        UserError: a shard is missing, altered, of other pictures or of another tower.
    """
    from safetensors.numpy import save

    n_shards = -(-images.n_images // settings.shard_images)
    sidecars, joined = _sidecars(out, n_shards)
    _check(out, sidecars, images, settings)
    tower = sidecars[0]["tower"]
    streams = [Stream(name, **tower["streams"][name]) for name in sorted(tower["streams"])]
    n_skipped = _join_records(out, sidecars, images.n_images)

    tensors: dict[str, np.ndarray] = {}
    report: dict[str, Any] = {}
    for stream in streams:
        moments = _merged(out, stream, n_shards)
        _check_count(out, stream, moments, sidecars)
        values = {
            "mean": moments.mean,
            "std": moments.std(),
            "min": moments.min,
            "max": moments.max,
        }
        tensors |= {f"{stream.name}.{name}": value for name, value in values.items()}
        report[stream.name] = tower["streams"][stream.name] | _sanity(moments)
        _warn(stream, report[stream.name])
    write_bytes(out / STATS, save(tensors))
    run.write(out, **_volatile(out, n_shards))
    write_meta(
        out,
        stage=STAGE,
        name=out.name,
        settings=spec.settings,
        inputs={"images": images.digest},
        summary={
            "n_images": images.n_images,
            "n_rows": images.n_images - n_skipped,
            "n_skipped": n_skipped,
            "n_shards": n_shards,
            "shard_images": settings.shard_images,
            "dtype": settings.dtype,
            **{key: tower[key] for key in ("model", "weights_sha256", "n_blocks", "layers")},
            "geometry": tower["geometry"],
            "streams": report,
        },
        files=[
            {
                "name": ALL_SHARDS,
                "bytes": sum(f["bytes"] for s in sidecars for f in s["files"]),
                "sha256": sha256_bytes(joined),
            },
            RECORDS,
            STATS,
        ],
    )
    skipped = f", {n_skipped:,} skipped" if n_skipped else ""
    logs.say(f"sealed {out}: {images.n_images - n_skipped:,} pictures{skipped}")


def _sidecars(out: Path, n_shards: int) -> tuple[list[dict[str, Any]], bytes]:
    paths = [out / shard_json(i) for i in range(n_shards)]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise UserError(listed(missing, f"{len(missing):,} shards aren't recorded:"))
    return [read_json(path) for path in paths], b"".join(path.read_bytes() for path in paths)


def _check(
    out: Path, sidecars: list[dict[str, Any]], images: Images, settings: VitSettings
) -> None:
    problems = []
    for number, sidecar in enumerate(sidecars):
        path = out / shard_json(number)
        start = number * settings.shard_images
        span = [start, min(start + settings.shard_images, images.n_images)]
        if sidecar["images"] != images.digest:
            problems.append(f"{path} was recorded from another listing")
        elif [sidecar["start"], sidecar["stop"]] != span or sidecar["dtype"] != settings.dtype:
            problems.append(f"{path} was recorded with other settings")
        elif sidecar["tower"] != sidecars[0]["tower"]:
            problems.append(
                f"{path} was recorded with another tower or weights than the first shard"
            )
        problems += altered_shard_files(out, sidecar, "size")
    if problems:
        raise UserError(
            listed(problems, f"{out} can't be sealed:")
            + "\nRemove the .json files of these shards and run again: they are recorded anew."
        )


def _join_records(out: Path, sidecars: list[dict[str, Any]], n_images: int) -> int:
    """Join the shards' records, a row group a shard; return how many pictures were skipped.

    Every position of the listing is checked to be there once, with its activations or a reason.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    n_skipped = 0
    reasons: list[str] = []
    with (
        atomic_path(out / RECORDS) as temporary,
        pq.ParquetWriter(temporary, records_schema()) as writer,
    ):
        for number, sidecar in enumerate(sidecars):
            table = pq.read_table(out / shard_records(number), schema=records_schema())
            rows = np.load(out / shard_rows(number), allow_pickle=False)
            listed_rows = table.column("row").to_numpy()
            present = table.column("skipped").is_null().to_numpy(zero_copy_only=False)
            if not (
                np.array_equal(listed_rows, np.arange(sidecar["start"], sidecar["stop"]))
                and np.array_equal(listed_rows[present], rows)
                and len(rows) == sidecar["rows"]
            ):
                raise UserError(
                    f"{out / shard_records(number)} and {out / shard_rows(number)} disagree: remove "
                    f"{out / shard_json(number)} and run again"
                )
            n_skipped += int((~present).sum())
            if n_skipped and len(reasons) < 3:
                bad = table.filter(pc.is_valid(table.column("skipped"))).slice(0, 3).to_pylist()
                reasons += [f"row {record['row']}: {record['skipped']}" for record in bad]
            writer.write_table(table, row_group_size=max(1, table.num_rows))
    if n_skipped == n_images:
        raise UserError(
            listed(reasons, f"none of the {n_images:,} pictures could be read, such as:", 3)
        )
    return n_skipped


def _merged(out: Path, stream: Stream, n_shards: int) -> Moments:
    """Statistics of all blocks, merged in row order: the same however they lie in shards."""
    from safetensors import safe_open

    total = Moments.empty(stream.d)
    for number in range(n_shards):
        with safe_open(out / shard_stats(number), framework="numpy") as file:
            fields = {
                name: file.get_tensor(f"{stream.name}.{name}") for name in Moments.empty(0).arrays()
            }
        for block in range(len(fields["count"])):
            total = total.merged(Moments.from_arrays({k: v[block] for k, v in fields.items()}))
    return total


def _check_count(
    out: Path, stream: Stream, moments: Moments, sidecars: list[dict[str, Any]]
) -> None:
    expected = sum(sidecar["rows"] for sidecar in sidecars) * stream.n_patches
    if moments.count != expected:
        raise UserError(
            f"{out}: the statistics of {stream.name} count {moments.count:,} vectors, the shards hold "
            f"{expected:,}: remove {out / 'shards'} and run again"
        )


def _sanity(moments: Moments) -> dict[str, Any]:
    variance = moments.m2 / moments.count
    total = float(variance.sum())
    return {
        "mean_norm": moments.norms / moments.count,
        "top_dimension": int(variance.argmax()),
        "top_dimension_variance_share": float(variance.max()) / total if total else None,
        "n_constant_dimensions": int((moments.min == moments.max).sum()),
    }


def _warn(stream: Stream, figures: dict[str, Any]) -> None:
    share = figures["top_dimension_variance_share"]
    if share is None:
        logs.say(f"warning: {stream.name}: all vectors are equal; nothing can be learned from them")
    elif share > DOMINANT:
        logs.say(
            f"warning: {stream.name}: dimension {figures['top_dimension']} holds {share:.0%} of the "
            f"variance; train with normalisation per dimension"
        )


def _volatile(out: Path, n_shards: int) -> dict[str, Any]:
    """Sums over the jobs that recorded the shards (their `runs/*.json` may be gone)."""
    paths = [out / "runs" / f"shard-{i:05}.json" for i in range(n_shards)]
    runs = [read_json(path) for path in paths if path.is_file()]
    if not runs:
        return {}
    return {
        "device": ", ".join(sorted({run["device"] for run in runs})),
        "recording_seconds": round(sum(run["seconds"] for run in runs), 3),
        "recording_peak_memory_bytes": max(run["peak_memory_bytes"] for run in runs),
    }
