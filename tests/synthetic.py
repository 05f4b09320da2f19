"""Makes sealed activations without images or a tower, in the format of the `activations` stage."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file

from saev.activations import artifact as names
from saev.activations.artifact import ALL_SHARDS
from saev.core.blocks import BLOCK
from saev.core.files import file_entry, sha256_bytes, write_json
from saev.core.meta import write_meta

STORED = {"float16": np.float16, "float32": np.float32, "bfloat16": np.uint16}


def store(values: np.ndarray, dtype: str) -> np.ndarray:
    """Convert float32 to what is stored (bfloat16 by cutting off, which is exact for small
    integers)."""
    if dtype == "bfloat16":
        return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return values.astype(STORED[dtype])


def write_activations(
    folder: str | Path,
    streams: dict[str, np.ndarray],
    *,
    absent: tuple[int, ...] = (),
    shard_images: int = BLOCK,
    dtype: str = "float16",
    n_blocks: int = 2,
) -> Path:
    """Write a sealed directory of activations.

    Args:
        folder: the directory, made here.
        streams: by name (``layer-01.cls``, ``layer-01.patches``, ``pooled``): (n, d) values, or
            (n, patches, d) for patches, a row for every position of the listing (absent ones too).
        absent: rows whose picture counts as unreadable.
        shard_images: positions in a shard, a multiple of ``BLOCK``.
        dtype: type to store in.
        n_blocks: blocks of the imagined tower.
    """
    folder = Path(folder)
    n_images = len(next(iter(streams.values())))
    present = np.setdiff1d(np.arange(n_images), absent)
    n_shards = -(-n_images // shard_images)
    sidecars = b""
    for shard in range(n_shards):
        start = shard * shard_images
        rows = present[(present >= start) & (present < start + shard_images)]
        made = [names.shard_rows(shard)]
        _save(folder / made[0], rows)
        for name, values in streams.items():
            made.append(names.shard_array(name, shard))
            _save(folder / made[-1], store(values[rows], dtype))
        entries = [file_entry(folder / name, name) for name in made]
        path = folder / names.shard_json(shard)
        write_json(path, {"rows": len(rows), "files": entries})
        sidecars += path.read_bytes()
    _write_records(folder, n_images, set(absent), shard_images)
    kept = {name: names.to_float32(store(v[present], dtype), dtype) for name, v in streams.items()}
    _write_stats(folder, kept)
    shards = {"name": ALL_SHARDS, "bytes": len(sidecars), "sha256": sha256_bytes(sidecars)}
    write_meta(
        folder,
        stage=names.STAGE,
        name=folder.name,
        settings={"synthetic": True},
        inputs={},
        summary={
            "n_images": n_images,
            "n_rows": len(present),
            "n_skipped": len(absent),
            "n_shards": n_shards,
            "shard_images": shard_images,
            "model": "synthetic",
            "weights_sha256": None,
            "n_blocks": n_blocks,
            "layers": sorted({_layer(name) for name in streams if name != "pooled"}),
            "streams": {name: _describe(name, values) for name, values in kept.items()},
            "dtype": dtype,
            "geometry": {
                "image_size": 16 * max(2, *_grid(kept)[:1]),
                "resize_mode": "shortest",
                "resize_size": 32,
                "interpolation": "bicubic",
                "mean": [0.5, 0.5, 0.5],
                "std": [0.5, 0.5, 0.5],
                "patch_size": 16,
                "grid": _grid(kept),
            },
        },
        files=[shards, names.RECORDS, names.STATS],
    )
    return folder


def encoded(folder: str | Path, **options) -> Path:
    """Activations that hold their own row and patch: [row, patch, 0, 0] in float32, 600 images of
    3."""
    values = np.zeros((600, 3, 4))
    values[..., 0] = np.arange(600)[:, None]
    values[..., 1] = np.arange(3)
    return write_activations(folder, {"layer-00.patches": values}, dtype="float32", **options)


def _grid(streams: dict[str, np.ndarray]) -> list[int]:
    """Lines and columns of patches, for the first stream that has any."""
    n = next((values.shape[1] for values in streams.values() if values.ndim == 3), 4)
    if n == 49:  # as the demo's tower has
        return [7, 7]
    return [2, n // 2] if n % 2 == 0 else [1, n]


def _save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values)


def _layer(name: str) -> int:
    return int(name.removeprefix("layer-").partition(".")[0])


def _flat(values: np.ndarray) -> np.ndarray:
    """(vectors, d) float64; what isn't finite counts as 0, so that tests can make bad
    activations."""
    flat = values.reshape(-1, values.shape[-1]).astype(np.float64)
    return np.where(np.isfinite(flat), flat, 0)


def _describe(name: str, values: np.ndarray) -> dict:
    flat = _flat(values)
    variance = flat.var(axis=0)
    return {
        "d": values.shape[-1],
        "n_patches": values.shape[1] if values.ndim == 3 else 1,
        "kind": name.rpartition(".")[2],
        "layer": None if name == "pooled" else _layer(name),
        "mean_norm": float(np.linalg.norm(flat, axis=1).mean()),
        "top_dimension_variance_share": float(variance.max() / max(variance.sum(), 1e-30)),
        "n_constant_dimensions": int((variance == 0).sum()),
    }


def _write_stats(folder: Path, streams: dict[str, np.ndarray]) -> None:
    tensors = {}
    for name, values in streams.items():
        flat = _flat(values)
        for statistic in names.STATISTICS:
            tensors[f"{name}.{statistic}"] = getattr(flat, statistic)(axis=0)
    save_file(tensors, folder / names.STATS)


def _write_records(folder: Path, n: int, absent: set[int], shard_images: int) -> None:
    skipped = ["unreadable" if row in absent else None for row in range(n)]
    sizes = pa.array([None if reason else 32 for reason in skipped], pa.int32())
    edges = [pa.array([None if r else at for r in skipped], pa.float64()) for at in (0.0, 32.0)]
    table = pa.table(
        {
            "row": pa.array(range(n), pa.int64()),
            "width": sizes,
            "height": sizes,
            "sha256": pa.array([None if r else f"{i:064x}" for i, r in enumerate(skipped)]),
            "crop_left": edges[0],
            "crop_top": edges[0],
            "crop_right": edges[1],
            "crop_bottom": edges[1],
            "skipped": pa.array(skipped, pa.string()),
        }
    )
    pq.write_table(table, folder / names.RECORDS, row_group_size=shard_images)


def planted(
    n: int, d: int, n_directions: int, n_active: int, noise: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Sparse nonnegative codes times known unit vectors, plus a bias and noise.

    Returns:
        (n, d) float32 vectors, and the (n_directions, d) unit vectors.
    """
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((n_directions, d))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    codes = np.zeros((n, n_directions))
    chosen = rng.random((n, n_directions)).argpartition(n_active, axis=1)[:, :n_active]
    np.put_along_axis(codes, chosen, 1 + rng.random((n, n_active)), axis=1)
    vectors = codes @ directions + rng.standard_normal(d) + noise * rng.standard_normal((n, d))
    return vectors.astype(np.float32), directions
