"""Reads vectors from the files of the shards, in large contiguous ranges of indices.

A memory map was as fast (docs/measured.md), but with it a disk error ends the process without a
word.
"""

import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from saev.activations.artifact import Activations, Stream, shard_array

OPEN_FILES = 8


class Part(NamedTuple):
    """The wanted images of one shard."""

    shard: int
    first: int
    """Position of this shard's first wanted image among all wanted images."""
    positions: np.ndarray
    """(m,) int64, ascending: position of each wanted image in the shard's array."""
    path: Path
    offset: int
    """Where in the file the array's values start."""


class Files:
    """Where the vectors of some images are.

    Args:
        activations, stream: what to read. All shards are verified here.
        rows: (m,) row ids of the images, ascending.
    """

    def __init__(self, activations: Activations, stream: Stream, rows: np.ndarray) -> None:
        self.n_patches, self.d, self.dtype = stream.n_patches, stream.d, activations.dtype
        self.n = len(rows) * stream.n_patches
        self.stored = activations.read(stream, 0, 0)[1].dtype
        self.vector_bytes = self.d * self.stored.itemsize
        self.parts = list(_parts(activations, stream, rows))
        self.firsts = np.array([part.first for part in self.parts], np.int64)

    def empty(self, n: int) -> np.ndarray:
        """Make an array for ``n`` vectors, (n, d) in the stored type."""
        return np.empty((n, self.d), self.stored)


class Reader:
    """Reads ranges of vectors, in one thread. As a context manager, it closes its files."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self._open: dict[Path, FileIO] = {}

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        while self._open:
            self._open.popitem()[1].close()

    def read(self, start: int, stop: int, out: np.ndarray) -> None:
        """Read the vectors ``[start, stop)`` into ``out`` (stop - start, d) of the stored type."""
        left = memoryview(out.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
        for part, low, high in self._spans(start, stop):
            size = (high - low) * self.files.vector_bytes
            self._read_part(part, low, high, left[:size])
            left = left[size:]

    def announce(self, start: int, stop: int) -> None:
        """Ask the system to fetch the vectors ``[start, stop)`` before they are read."""
        if not hasattr(os, "posix_fadvise"):
            return
        for part, low, high in self._spans(start, stop):
            first = part.positions[low // self.files.n_patches]
            last = part.positions[(high - 1) // self.files.n_patches]
            image = self.files.n_patches * self.files.vector_bytes
            begin, size = part.offset + int(first) * image, int(last + 1 - first) * image
            descriptor = self._file(part.path).fileno()
            os.posix_fadvise(descriptor, begin, size, os.POSIX_FADV_WILLNEED)

    def _spans(self, start: int, stop: int) -> Iterator[tuple[Part, int, int]]:
        """Yield each part with some vectors of ``[start, stop)``, and their range in it."""
        files = self.files
        i = int(np.searchsorted(files.firsts, start // files.n_patches, "right")) - 1
        while start < stop:
            part = files.parts[i]
            base = part.first * files.n_patches
            end = min(stop, base + len(part.positions) * files.n_patches)
            yield part, start - base, end - base
            start, i = end, i + 1

    def _read_part(self, part: Part, start: int, stop: int, out: memoryview) -> None:
        """Read the vectors ``[start, stop)``, counted from the part's first."""
        file, vector = self._file(part.path), self.files.vector_bytes
        for low, high in _runs(part.positions, self.files.n_patches, start, stop):
            file.seek(part.offset + low * vector)
            left, out = out[: (high - low) * vector], out[(high - low) * vector :]
            while left:
                got = file.readinto(left)
                if not got:
                    raise OSError(
                        f"{part.path} ends at byte {file.tell():,}, before its last vector"
                    )
                left = left[got:]

    def _file(self, path: Path) -> FileIO:
        if path not in self._open:
            # Reading goes forwards, announcements a little ahead: the oldest file is done.
            while len(self._open) >= OPEN_FILES:
                self._open.pop(next(iter(self._open))).close()
            self._open[path] = path.open("rb", buffering=0)
        return self._open[path]


def _parts(activations: Activations, stream: Stream, rows: np.ndarray) -> Iterator[Part]:
    size = activations.shard_images
    for shard, start in enumerate(range(0, activations.n_images, size)):
        first, last = np.searchsorted(rows, [start, start + size])
        if first < last:
            present, _ = activations.read(stream, start, start + size)
            positions = np.searchsorted(present, rows[first:last])
            path = activations.path / shard_array(stream.name, shard)
            yield Part(shard, int(first), positions, path, _values_offset(path))


def _values_offset(path: Path) -> int:
    """How many bytes precede the values in an `.npy` file."""
    with path.open("rb") as file:
        major = np.lib.format.read_magic(file)[0]
        length = int.from_bytes(file.read(2 if major == 1 else 4), "little")
        return file.tell() + length


def _runs(
    positions: np.ndarray, n_patches: int, start: int, stop: int
) -> Iterator[tuple[int, int]]:
    """Yield the ranges of the file that hold the vectors ``[start, stop)`` of a part."""
    first = start // n_patches
    at = positions[first : -(-stop // n_patches)]
    edges = np.flatnonzero(np.diff(at) != 1) + 1
    lows = at[np.concatenate([[0], edges])] * n_patches
    highs = (at[np.concatenate([edges, [len(at)]]) - 1] + 1) * n_patches
    lows[0] += start - first * n_patches
    highs[-1] -= (first + len(at)) * n_patches - stop
    yield from zip(lows.tolist(), highs.tolist(), strict=True)
