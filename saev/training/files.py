"""Vectors in the shards' files: large contiguous reads of ranges of indices."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from saev.artifacts.activations import Activations, Stream, shard_array

SKIPPED_BYTES = 1 << 20
"""Held-out vectors up to this size are read and dropped, rather than read around."""
OPEN_FILES = 8
MAX_PIECES = 1000
"""Pieces of memory that one read may fill; systems allow 1,024."""


class Part(NamedTuple):
    """What is wanted of a shard."""

    shard: int
    first: int
    """Position, among all wanted images, of the first one in this shard."""
    positions: np.ndarray
    """(m,) int64, ascending: where in the shard's array each wanted image is."""
    path: Path
    offset: int
    """Where in the file the array's values start."""


class Files:
    """Where the vectors of some images lie.

    Args:
        activations, stream: what they are vectors of. All shards are verified here.
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
        """An array for ``n`` vectors, (n, d) in the stored type."""
        return np.empty((n, self.d), self.stored)


class Reader:
    """Reads ranges of vectors; for one thread. A context manager, which closes its files.

    Attributes:
        bytes_read: with what was skipped by reading it.
    """

    def __init__(self, files: Files) -> None:
        self.files, self.bytes_read = files, 0
        self._dropped = memoryview(bytearray(SKIPPED_BYTES))
        self._open: dict[Path, int] = {}

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        while self._open:
            os.close(self._open.popitem()[1])

    def read(self, start: int, stop: int, out: np.ndarray) -> None:
        """Read the vectors ``[start, stop)`` into ``out`` (stop - start, d) of the stored type."""
        left = memoryview(out.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
        for part, low, high in self._spans(start, stop):
            size = (high - low) * self.files.vector_bytes
            self._read_part(part, low, high, left[:size])
            left = left[size:]

    def announce(self, start: int, stop: int) -> None:
        """Ask the system to fetch the vectors ``[start, stop)`` soon, so that `read` needn't wait."""
        if not hasattr(os, "posix_fadvise"):
            return
        for part, low, high in self._spans(start, stop):
            first = part.positions[low // self.files.n_patches]
            last = part.positions[(high - 1) // self.files.n_patches]
            image = self.files.n_patches * self.files.vector_bytes
            begin, size = part.offset + int(first) * image, int(last + 1 - first) * image
            os.posix_fadvise(self._descriptor(part.path), begin, size, os.POSIX_FADV_WILLNEED)

    def _spans(self, start: int, stop: int) -> Iterator[tuple[Part, int, int]]:
        """Yield each part that holds some of the vectors ``[start, stop)``, and which of its own they are."""
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
        descriptor, vector = self._descriptor(part.path), self.files.vector_bytes
        pieces: list[memoryview] = []
        begin = end = -1
        for low, high in _runs(part.positions, self.files.n_patches, start, stop):
            low, high = part.offset + low * vector, part.offset + high * vector
            if pieces and (low - end > SKIPPED_BYTES or len(pieces) + 2 > MAX_PIECES):
                self._fill(descriptor, pieces, begin, part.path)
                pieces = []
            if pieces:
                pieces.append(self._dropped[: low - end])
            else:
                begin = low
            pieces.append(out[: high - low])
            out, end = out[high - low :], high
        self._fill(descriptor, pieces, begin, part.path)

    def _fill(self, descriptor: int, pieces: list[memoryview], at: int, path: Path) -> None:
        """Fill ``pieces`` one after the other from byte ``at`` on."""
        while pieces:
            got = os.preadv(descriptor, pieces, at)
            if not got:
                raise OSError(f"{path} ends at byte {at:,}, before its last vector")
            at, self.bytes_read = at + got, self.bytes_read + got
            while pieces and got >= len(pieces[0]):
                got -= len(pieces.pop(0))
            if got:
                pieces[0] = pieces[0][got:]

    def _descriptor(self, path: Path) -> int:
        if path not in self._open:
            # Reading goes forwards, announcements a little ahead of it: the oldest isn't needed again.
            while len(self._open) >= OPEN_FILES:
                os.close(self._open.pop(next(iter(self._open))))
            self._open[path] = os.open(path, os.O_RDONLY)
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
    """Bytes before the values of an `.npy` file."""
    with path.open("rb") as file:
        major = np.lib.format.read_magic(file)[0]
        length = int.from_bytes(file.read(2 if major == 1 else 4), "little")
        return file.tell() + length


def _runs(
    positions: np.ndarray, n_patches: int, start: int, stop: int
) -> Iterator[tuple[int, int]]:
    """Yield the ranges of vectors of the file that hold the vectors ``[start, stop)`` of a part."""
    first = start // n_patches
    at = positions[first : -(-stop // n_patches)]
    edges = np.flatnonzero(np.diff(at) != 1) + 1
    lows = at[np.concatenate([[0], edges])] * n_patches
    highs = (at[np.concatenate([edges, [len(at)]]) - 1] + 1) * n_patches
    lows[0] += start - first * n_patches
    highs[-1] -= (first + len(at)) * n_patches - stop
    yield from zip(lows.tolist(), highs.tolist(), strict=True)
