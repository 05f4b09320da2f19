"""Reads one vector per image from recorded shards, before they are sealed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from saev.activations.artifact import Stream, shard_array, shard_rows, to_float32

PIECE = 4096
"""Images read at a time. Bounds memory."""


class ImageVectors:
    """Vectors of all recorded images in a stream that has one for each.

    Args:
        out: the directory of the activations.
        stream: which.
        sidecars: those of all shards.
        dtype: type in which activations are stored.
        shard_images: positions of the listing in a shard.
    """

    def __init__(
        self,
        out: Path,
        stream: Stream,
        sidecars: list[dict[str, Any]],
        dtype: str,
        shard_images: int,
    ) -> None:
        self.out, self.stream, self.dtype, self.shard_images = out, stream, dtype, shard_images
        self.n_rows = [sidecar["rows"] for sidecar in sidecars]

    def pieces(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Row ids (r,) int64, and vectors (r, d) float32, in row order."""
        for shard in range(len(self.n_rows)):
            rows, values = self._rows(shard), self._values(shard)
            for start in range(0, len(rows), PIECE):
                here = slice(start, start + PIECE)
                yield rows[here], to_float32(values[here], self.dtype)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """(m, d) float32, the vectors of recorded rows in ascending order."""
        parts = [np.empty((0, self.stream.d), np.float32)]
        shards, starts = np.unique(rows // self.shard_images, return_index=True)
        for shard, wanted in zip(shards.tolist(), np.split(rows, starts[1:]), strict=False):
            at = np.searchsorted(self._rows(shard), wanted)
            parts.append(to_float32(self._values(shard)[at], self.dtype))
        return np.concatenate(parts)

    def _rows(self, shard: int) -> np.ndarray:
        rows: np.ndarray = np.load(self.out / shard_rows(shard), allow_pickle=False)
        return rows

    def _values(self, shard: int) -> np.ndarray:
        path = self.out / shard_array(self.stream.name, shard)
        # An empty file can't be mapped.
        values: np.ndarray = np.load(
            path, mmap_mode="r" if self.n_rows[shard] else None, allow_pickle=False
        )
        return values
