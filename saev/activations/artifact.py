"""Artifact of the `activations` stage: names of its files, and the reader.

Shard ``i`` covers the rows ``[i * shard_images, (i + 1) * shard_images)`` of the listing. Its
arrays don't contain rows whose image couldn't be read; ``rows/shard-NNNNN.rows.npy`` lists those
they contain.
"""

from collections import OrderedDict
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from saev.activations.twins import first_of
from saev.activations.verified import Verified
from saev.core.blocks import held_out_mask
from saev.core.errors import UserError, listed
from saev.core.files import read_json, sha256_bytes
from saev.core.meta import altered_files, read_meta

if TYPE_CHECKING:
    import pyarrow

SHARD = "shards/{number}.json"
ALL_SHARDS = "shards/*.json"
"""Name of the entry for all sidecars, joined, in `meta.json`."""
STAGE = "activations"
RECORDS, STATS, TWINS = "images.parquet", "stats.safetensors", "twins.npy"
MEANS = "means"
"""The folder of the means over the patches of each image, in which sealing seeks near-twins."""
STATISTICS = ("mean", "std", "min", "max")
OPEN_ARRAYS = 16
"""Mapped files that a reader keeps open. Bounds memory and open files for any number of shards."""

Verify = Literal["size", "sha256"]


def shard_json(shard: int) -> str:
    """Name of a shard's sidecar, which is written last."""
    return SHARD.format(number=f"{shard:05}")


def shard_array(stream: str, shard: int) -> str:
    """Name of the file with a shard's activations in one stream."""
    return f"{stream}/shard-{shard:05}.npy"


def shard_rows(shard: int) -> str:
    """Name of the file with the row ids of a shard."""
    return f"rows/shard-{shard:05}.rows.npy"


def shard_records(shard: int) -> str:
    """Name of the file with the records of a shard's images, including skipped ones."""
    return f"records/shard-{shard:05}.parquet"


def shard_stats(shard: int) -> str:
    """Name of the file with a shard's statistics."""
    return f"stats/shard-{shard:05}.safetensors"


class Stream(NamedTuple):
    """One layer (or the output) and one kind of token."""

    name: str
    """``layer-11.cls``, ``layer-11.patches`` or ``pooled``. The folder has the same name."""
    d: int
    """Width of a vector."""
    n_patches: int
    """Vectors per image: 1 unless ``kind`` is ``patches``."""
    kind: str
    """``cls``, ``patches`` or ``pooled``, or ``means`` of patches."""
    layer: int | None
    """The block, counted from 0; None for ``pooled``."""


def compared(streams: Iterable[Stream]) -> Stream:
    """The stream with one vector per image in which near-twins are sought.

    The deepest patches tell copies from images that resemble each other best: their mean is
    recorded too. Without patches, it is ``pooled`` or else the deepest class token.
    """
    by_kind = {s.kind: s for s in sorted(streams, key=lambda s: -1 if s.layer is None else s.layer)}
    if "patches" in by_kind:
        patches = by_kind["patches"]
        return Stream(MEANS, patches.d, 1, "means", patches.layer)
    return by_kind.get("pooled") or by_kind["cls"]


def to_float32(values: np.ndarray, dtype: str) -> np.ndarray:
    """Convert stored activations to float32, exactly.

    Args:
        values: any shape. For ``bfloat16``: its bits as uint16.
        dtype: ``float16``, ``float32`` or ``bfloat16``.
    """
    if dtype == "bfloat16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32)


class Activations:
    """Reader of `results/{images}/{vit}`. All methods take row ids.

    Args:
        path: the directory of the activations.
        verify: how to check a shard's activations when they are first opened: by their size or
            SHA-256. Other files, such as its rows, are always checked by SHA-256. An unchanged file
            that this host verified before isn't hashed again.

    Raises:
        UserError: the activations aren't sealed, or were altered.
    """

    def __init__(self, path: str | Path, verify: Verify = "size") -> None:
        self.path, self.verify = Path(path), verify
        self.meta, self.digest = read_meta(self.path, STAGE)
        summary = self.meta["summary"]
        self.n_images: int = summary["n_images"]
        self.n_rows: int = summary["n_rows"]
        self.n_shards: int = summary["n_shards"]
        self.shard_images: int = summary["shard_images"]
        self.dtype: str = summary["dtype"]
        self.streams = {
            name: Stream(name, s["d"], s["n_patches"], s["kind"], s["layer"])
            for name, s in summary["streams"].items()
        }
        self._matches = Verified(self.path).matches
        problems = altered_files(self.path, self.meta["files"], deep=True, matches=self._matches)
        self._sidecars = self._read_sidecars(problems)
        self._raise(problems)
        self._verified: set[str] = set()
        self._open: OrderedDict[str, np.ndarray] = OrderedDict()

    def stream(self, layer: int | None, tokens: str) -> Stream:
        """Find the stream of ``tokens`` at ``layer`` (negative numbers count from the last block).

        Raises:
            UserError: it wasn't recorded; lists the recorded streams.
        """
        n_blocks = self.meta["summary"]["n_blocks"]
        resolved = layer + n_blocks if layer is not None and layer < 0 else layer
        for stream in self.streams.values():
            if stream.kind == tokens and (tokens == "pooled" or stream.layer == resolved):
                return stream
        raise UserError(
            f"{self.path} holds no {tokens} of layer {layer} (of {n_blocks} blocks); it holds: "
            f"{', '.join(self.streams)}"
        )

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Row ids with activations in ``[start, stop)`` of the listing: (r,) int64, ascending."""
        parts = [self._shard_rows(i)[where] for i, where in self._parts(start, stop)]
        return _joined(parts, np.empty(0, np.int64))

    def read(self, stream: Stream, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Read the activations in ``[start, stop)`` of the listing.

        Returns:
            row ids (r,) int64, and activations (r, n_patches, d) in the stored dtype. If they lie
            in one shard, they are a view of the mapped file.
        """
        parts = list(self._parts(start, stop))
        rows = [self._shard_rows(i)[where] for i, where in parts]
        values = [self._shard_values(stream, i)[where] for i, where in parts]
        empty = np.empty((0, stream.n_patches, stream.d), self._numpy_dtype)
        return _joined(rows, np.empty(0, np.int64)), _joined(values, empty)

    def take(self, stream: Stream, rows: np.ndarray) -> np.ndarray:
        """Gather the activations of ``rows``.

        Args:
            rows: (m,) row ids in any order; may contain duplicates.

        Returns:
            (m, n_patches, d) in the stored dtype.

        Raises:
            UserError: a row has no activations.
        """
        rows = np.asarray(rows, dtype=np.int64)
        out = np.empty((len(rows), stream.n_patches, stream.d), self._numpy_dtype)
        shards = rows // self.shard_images
        for shard in np.unique(shards):
            here = np.flatnonzero(shards == shard)
            wanted = rows[here]
            present = self._shard_rows(int(shard)) if 0 <= shard < self.n_shards else rows[:0]
            at = np.searchsorted(present, wanted)
            found = at < len(present)
            found[found] = present[at[found]] == wanted[found]
            if not found.all():
                missing = wanted[~found][:5].tolist()
                raise UserError(
                    f"{self.path} holds no activations of row {', '.join(map(str, missing))}: the "
                    f"image was skipped, or the row is outside of 0 to {self.n_images - 1}"
                )
            # Read in the order of the file, which is faster on disks.
            order = np.argsort(at, kind="stable")
            out[here[order]] = self._shard_values(stream, int(shard))[at[order]]
        return out

    def float32(self, values: np.ndarray) -> np.ndarray:
        """Convert activations from `read` or `take` to float32."""
        return to_float32(values, self.dtype)

    def stats(self, stream: Stream) -> dict[str, np.ndarray]:
        """Statistics over all vectors of a stream: `STATISTICS`, each (d,) float64."""
        from safetensors.numpy import load_file

        tensors = load_file(self.path / STATS)
        return {name: tensors[f"{stream.name}.{name}"] for name in STATISTICS}

    def held_out(self, rows: np.ndarray, fraction: float, seed: int) -> np.ndarray:
        """Tell which images are held out from training: `held_out_mask`, with all twins on one
        side.

        Args:
            rows: (n,) int64 row ids.
            fraction: expected share of held-out images, 0 to 1.
            seed: the seed of the split.

        Returns:
            (n,) bool, True where the image is held out.
        """
        return held_out_mask(first_of(rows, self.twins), fraction, seed)

    @cached_property
    def twins(self) -> np.ndarray:
        """(m, 2) int64, pairs of copies and near-copies: see `joined_twins`."""
        path = self.path / TWINS
        # Recordings of earlier versions don't say.
        return np.load(path, allow_pickle=False) if path.exists() else np.empty((0, 2), np.int64)

    def records(self, start: int, stop: int) -> "pyarrow.Table":
        """Read the rows ``[start, stop)`` of `images.parquet`, including skipped images."""
        import pyarrow.parquet

        stop = min(stop, self.n_images)
        with pyarrow.parquet.ParquetFile(self.path / RECORDS) as file:
            # `seal` writes one row group per shard.
            first = start // self.shard_images
            groups = list(range(first, (stop - 1) // self.shard_images + 1)) if start < stop else []
            table = file.read_row_groups(groups)
        return table.slice(start - first * self.shard_images, max(0, stop - start))

    def take_records(self, rows: np.ndarray) -> list[dict[str, Any]]:
        """Records of single rows, in the order of ``rows``, as mappings by column."""
        rows = np.asarray(rows, dtype=np.int64)
        found: dict[int, dict[str, Any]] = {}
        for shard in np.unique(rows // self.shard_images):
            start = int(shard) * self.shard_images
            table = self.records(start, start + self.shard_images)
            wanted = np.unique(rows[rows // self.shard_images == shard])
            for record in table.take(wanted - start).to_pylist():
                found[record["row"]] = record
        return [found[int(row)] for row in rows]

    @property
    def _numpy_dtype(self) -> np.dtype:
        return np.dtype(np.uint16 if self.dtype == "bfloat16" else self.dtype)

    def _read_sidecars(self, problems: list[str]) -> list[dict[str, Any]]:
        """Read the sidecars of all shards and compare them with the digest from `seal`."""
        paths = [self.path / shard_json(i) for i in range(self.n_shards)]
        missing = [f"{path} is missing" for path in paths if not path.is_file()]
        if missing:
            problems += missing
            return []
        entry = next(e for e in self.meta["files"] if e["name"] == ALL_SHARDS)
        joined = b"".join(path.read_bytes() for path in paths)
        if sha256_bytes(joined) != entry["sha256"]:
            problems.append(f"{self.path / 'shards'} was altered, or a shard was recorded again")
            return []
        return [read_json(path) for path in paths]

    def _raise(self, problems: list[str]) -> None:
        if problems:
            raise UserError(
                listed(problems, f"{self.path} has changed since it was sealed:")
                + "\nRemove the .json files of these shards and run again."
            )

    def _parts(self, start: int, stop: int) -> Any:
        """Yield ``(shard, slice of its arrays)`` for a range of the listing."""
        start, stop = max(0, start), min(stop, self.n_images)
        if start >= stop:
            return
        for shard in range(start // self.shard_images, (stop - 1) // self.shard_images + 1):
            low, high = np.searchsorted(self._shard_rows(shard), [start, stop])
            if low < high:
                yield shard, slice(int(low), int(high))

    def _shard_rows(self, shard: int) -> np.ndarray:
        return self._array(shard, shard_rows(shard), (self._sidecars[shard]["rows"],))

    def _shard_values(self, stream: Stream, shard: int) -> np.ndarray:
        n = self._sidecars[shard]["rows"]
        shape = (n, stream.n_patches, stream.d) if stream.kind == "patches" else (n, stream.d)
        values = self._array(shard, shard_array(stream.name, shard), shape)
        return values.reshape(n, stream.n_patches, stream.d)

    def _array(self, shard: int, name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name in self._open:
            self._open.move_to_end(name)
            return self._open[name]
        path = self.path / name
        if name not in self._verified:
            entries = [one for one in self._sidecars[shard]["files"] if one["name"] == name]
            deep = self.verify == "sha256" or name == shard_rows(shard)
            self._raise(altered_files(self.path, entries, deep, self._matches))
            self._verified.add(name)
        try:
            # An empty file can't be mapped.
            array = np.load(path, mmap_mode="r" if 0 not in shape else None, allow_pickle=False)
        except (ValueError, EOFError):
            self._raise([f"{path} doesn't begin as an array does"])
            raise
        if array.shape != shape:
            self._raise([f"{path} holds an array of shape {array.shape}, not {shape}"])
        array = np.asarray(array)
        self._open[name] = array
        if len(self._open) > OPEN_ARRAYS:
            self._open.popitem(last=False)
        return array


def _joined(parts: list[np.ndarray], empty: np.ndarray) -> np.ndarray:
    if not parts:
        return empty
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
