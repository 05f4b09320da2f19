"""Seal recorded shards: check them, join their records and statistics, write `meta.json` last."""

from pathlib import Path
from typing import Any

import numpy as np

from saev.activations.artifact import (
    ALL_SHARDS,
    RECORDS,
    STAGE,
    STATS,
    TWINS,
    Stream,
    compared,
    shard_array,
    shard_json,
    shard_stats,
)
from saev.activations.depth import Depths, merged
from saev.activations.image_vectors import ImageVectors
from saev.activations.joined_records import join_records, recorded_files
from saev.activations.moments import Moments
from saev.activations.near_twins import NearTwins, SoughtVectors, find_near_twins
from saev.activations.twins import find_twins, joined_twins, twins_doubts
from saev.activations.verified import Verified
from saev.core import logs
from saev.core.errors import UserError, listed
from saev.core.files import atomic_path, read_json, sha256_bytes, sha256_file, write_bytes
from saev.core.made import MADE, recorded
from saev.core.meta import altered_files, write_meta
from saev.core.spec import Spec
from saev.images.artifact import Images
from saev.settings.component import identity
from saev.settings.vit import VitResolved, VitSettings


def seal(
    spec: Spec, images: Images, out: Path, made: Path, settings: VitSettings
) -> list[dict[str, Any]]:
    """Write what sealing makes of the shards in ``out``, and `meta.json` last.

    Args:
        spec: settings and code.
        images: the listing.
        out: directory of the activations.
        made: directory to write the files into.
        settings: settings of the tower.

    Returns:
        the entries of these files, as `write_meta` gives them.

    Raises:
        UserError: a shard is missing, was altered, or is of other images or another tower.
    """
    from safetensors.numpy import save

    n_shards = -(-images.n_images // settings.shard_images)
    sidecars, joined = _sidecars(out, n_shards)
    _check(out, sidecars, images, settings)
    tower = sidecars[0]["tower"]
    streams = _streams(sidecars[0])
    n_skipped = join_records(out, made, sidecars, images.n_images)
    copies = find_twins(recorded_files(made, n_shards))
    sought = compared(streams)
    near = _near_twins(out, sought, sidecars, copies, settings)
    twins = joined_twins(copies, near.pairs)
    with atomic_path(made / TWINS) as temporary, temporary.open("wb") as file:
        np.save(file, twins)

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
    write_bytes(made / STATS, save(tensors))
    entries = write_meta(
        made,
        stage=STAGE,
        name=out.name,
        settings=identity(spec.parsed(VitSettings), spec.found(VitResolved)),
        inputs={"images": images.digest},
        summary={
            "n_images": images.n_images,
            "n_rows": images.n_images - n_skipped,
            "n_skipped": n_skipped,
            "n_twins": len(copies),
            "n_near_twins": len(near.pairs),
            "near_twins": {
                "stream": sought.name,
                "cosine": round(near.cosine, 6),
                "n_directions": round(near.n_directions, 1),
                "n_crowded": near.n_crowded,
            },
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
            TWINS,
        ],
    )
    skipped = f", {n_skipped:,} skipped" if n_skipped else ""
    logs.say(f"sealed {out}: {images.n_images - n_skipped:,} images{skipped}{_said(copies, near)}")
    doubts = _depths(out).doubts(images.settings.gray_range)
    for doubt in (*doubts, *twins_doubts(twins, near, images.n_images - n_skipped)):
        logs.say(f"warning: {doubt}")
    return entries


def _sidecars(out: Path, n_shards: int) -> tuple[list[dict[str, Any]], bytes]:
    paths = [out / shard_json(i) for i in range(n_shards)]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise UserError(listed(missing, f"{len(missing):,} shards aren't recorded:"))
    return [read_json(path) for path in paths], b"".join(path.read_bytes() for path in paths)


def _streams(sidecar: dict[str, Any]) -> list[Stream]:
    streams = sidecar["tower"]["streams"]
    return [Stream(name, **streams[name]) for name in sorted(streams)]


def _check(
    out: Path, sidecars: list[dict[str, Any]], images: Images, settings: VitSettings
) -> None:
    problems = []
    known = recorded(out, f".*[0-9]{MADE}")
    verified = Verified(out)
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
                f"{path} was recorded with another tower or other weights than the first shard"
            )
        if known.get(shard_json(number)) not in (None, sha256_file(path)):
            problems.append(f"{path} was altered after it was written")
        # The activations are large. What reads them hashes them, such as the search for near-twins.
        sought = compared(_streams(sidecar))
        large = {shard_array(s.name, number) for s in _streams(sidecar) if s != sought}
        if shard_array(sought.name, number) not in {entry["name"] for entry in sidecar["files"]}:
            problems.append(f"{path} was recorded by an earlier version, without {sought.name}")
        for entry in sidecar["files"]:
            deep = entry["name"] not in large
            problems += altered_files(out, [entry], deep, verified.matches)
    if problems:
        raise UserError(
            listed(problems, f"{out} can't be sealed:")
            + "\nRemove the .json files of these shards, then run again to record them."
        )


def _near_twins(
    out: Path,
    stream: Stream,
    sidecars: list[dict[str, Any]],
    copies: np.ndarray,
    settings: VitSettings,
) -> NearTwins:
    moments = _merged(out, stream, len(sidecars))
    _check_count(out, stream, moments, sidecars)
    read = ImageVectors(out, stream, sidecars, settings.dtype, settings.shard_images)
    vectors = SoughtVectors(read.pieces, read.take, moments.mean, moments.std())
    return find_near_twins(vectors, copies[:, 0])


def _said(copies: np.ndarray, near: NearTwins) -> str:
    """What is said about twins in the line of the sealing."""
    counts = [
        f"{n:,} are {what}s of others" if n > 1 else f"1 is a {one} of another"
        for n, one, what in (
            (len(copies), "copy", "copie"),
            (len(near.pairs), "near-copy", "near-copie"),
        )
        if n
    ]
    return f"; {', '.join(counts)}: these stay on one side of a split" if counts else ""


def _merged(out: Path, stream: Stream, n_shards: int) -> Moments:
    """Statistics of all blocks, merged in row order, so that the shards don't matter."""
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
            f"{out}: the statistics of {stream.name} count {moments.count:,} vectors, the shards "
            f"hold {expected:,}: remove {out / 'shards'} and run again"
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
        logs.say(
            f"warning: {stream.name}: all vectors are equal, so training can't learn anything from "
            f"them"
        )


def volatile(out: Path) -> dict[str, Any]:
    """Totals over the jobs that recorded the shards (empty if their `runs/*.json` are gone)."""
    runs = _runs(out)
    if not runs:
        return {}
    commits = sorted({run["weights_commit"] for run in runs if "weights_commit" in run})
    return {
        "device": ", ".join(sorted({run["device"] for run in runs})),
        **({"weights_commit": ", ".join(commits)} if commits else {}),
        "recording_seconds": round(sum(run["seconds"] for run in runs), 3),
        "recording_peak_memory_bytes": max(run["peak_memory_bytes"] for run in runs),
        "depths": _depths(out)._asdict(),
    }


def _runs(out: Path) -> list[dict[str, Any]]:
    return [read_json(path) for path in sorted(out.glob("runs/shard-*.json"))]


def _depths(out: Path) -> Depths:
    return merged(Depths(**run["depths"]) for run in _runs(out) if "depths" in run)
