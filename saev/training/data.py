"""Activations as vectors in training order.

A training vector's index is its image's position among the training images × n_patches + its patch.
`order` says in which order indices come; where the vectors lie, in memory or in files that are read a
window at a time, changes neither the order nor a byte.
"""

from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple, Protocol

import numpy as np

from saev.artifacts.activations import Activations, Stream, to_float32
from saev.blocks import held_out_mask
from saev.errors import UserError
from saev.training import order
from saev.training.files import Files, Reader
from saev.training.gather import Buffers, take_rows
from saev.training.memory import free_memory
from saev.training.stream import read_ahead

MEMORY_SHARE = 0.5
"""Of the free memory, that the vectors may take unless the settings say otherwise."""


class Split(NamedTuple):
    """Images by row id, ascending."""

    training: np.ndarray
    """(m,) int64."""
    held_out: np.ndarray
    """(h,) int64; training never reads them."""


class Vectors(Protocol):
    """Vectors that can be gathered by index, or window by window."""

    n: int
    d: int
    dtype: str
    """``float16``, ``float32`` or ``bfloat16``."""

    def gather(self, indices: np.ndarray) -> np.ndarray:
        """Vectors of ``indices`` (b,) int64, as (b, d) float32."""

    def opened(self, windows: Iterator[order.Window]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield, window by window, stored vectors (v, d), and which of them are next: (m,) int64."""


def split_images(activations: Activations, fraction: float, seed: int) -> Split:
    """Split the recorded images by row id."""
    rows = activations.rows(0, activations.n_images)
    mask = held_out_mask(rows, fraction, seed)
    return Split(rows[~mask], rows[mask])


def load(
    activations: Activations,
    stream: Stream,
    rows: np.ndarray,
    in_memory: str = "auto",
    processes: int = 1,
) -> Vectors:
    """Vectors of the images ``rows`` (m,), ascending, in memory or read from files as they are needed.

    Args:
        activations, stream, rows: what to train on.
        in_memory: ``always``, ``never``, or ``auto``: in memory if it has room.
        processes: how many do the same on this machine.

    Raises:
        UserError: memory hasn't enough room for ``always``.
    """
    vector = stream.d * (4 if activations.dtype == "float32" else 2)
    n, free = len(rows) * stream.n_patches, free_memory() // processes
    if in_memory == "always" and n * vector > free:
        each = f" for each of {processes} processes" if processes > 1 else ""
        raise UserError(
            f"compute.data_in_memory is always, but {n:,} vectors of {stream.name} take "
            f"{n * vector / 2**30:,.1f} GiB and {free / 2**30:,.1f} GiB of memory are free{each}: use auto "
            f"or never (the result is the same), or a machine with more memory"
        )
    # Streaming takes two windows anyway.
    room = max(MEMORY_SHARE * free, 2 * order.WINDOW_VECTORS * vector)
    fits = in_memory == "always" or (in_memory == "auto" and n * vector <= room)
    return (InMemory if fits else Streamed)(activations, stream, rows)


class InMemory:
    """All vectors in one array of the stored type, (n, d); see `Vectors`."""

    def __init__(self, activations: Activations, stream: Stream, rows: np.ndarray) -> None:
        files = Files(activations, stream, rows)
        self.n, self.d, self.dtype = files.n, files.d, files.dtype
        self.values = files.empty(files.n)
        with Reader(files) as reader:
            for start in range(0, self.n, order.BLOCK_VECTORS):
                stop = min(start + order.BLOCK_VECTORS, self.n)
                reader.read(start, stop, self.values[start:stop])

    def gather(self, indices: np.ndarray) -> np.ndarray:
        out = np.empty((len(indices), self.d), np.float32)
        take_rows(self.values, indices, self.dtype, out)
        return out

    def opened(self, windows: Iterator[order.Window]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for window in windows:
            yield self.values, window.indices()


class Streamed:
    """Vectors left in the shards' files; see `Vectors`."""

    def __init__(self, activations: Activations, stream: Stream, rows: np.ndarray) -> None:
        self.activations, self.stream = activations, stream
        self.files = Files(activations, stream, rows)
        self.n, self.d, self.dtype = self.files.n, self.files.d, self.files.dtype

    def gather(self, indices: np.ndarray) -> np.ndarray:
        images, patches = indices // self.stream.n_patches, indices % self.stream.n_patches
        out = np.empty((len(indices), self.d), np.float32)
        part_of = np.searchsorted(self.files.firsts, images, side="right") - 1
        size = self.activations.shard_images
        for i in np.unique(part_of):
            part = self.files.parts[i]
            start = part.shard * size
            _, values = self.activations.read(self.stream, start, start + size)
            here = np.flatnonzero(part_of == i)
            at = part.positions[images[here] - part.first]
            # In the file's order, so that a disk is read forwards.
            forward = np.argsort(at, kind="stable")
            chosen = values[at[forward], patches[here[forward]]]
            out[here[forward]] = to_float32(chosen, self.dtype)
        return out

    def opened(self, windows: Iterator[order.Window]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return read_ahead(self.files, windows, min(self.n, order.WINDOW_VECTORS))


def sample(n: int, at_most: int, key: list[int]) -> np.ndarray:
    """Draw ``min(n, at_most)`` distinct indices below ``n`` from ``default_rng(key)``, ascending."""
    if n <= at_most:
        return np.arange(n)
    return np.sort(np.random.default_rng(key).choice(n, at_most, replace=False, shuffle=False))


def batches(
    vectors: Vectors,
    batch_size: int,
    seed: int,
    first_step: int,
    n_steps: int,
    pinned: bool = False,
    share: tuple[int, int] | None = None,
) -> Iterator[np.ndarray]:
    """Yield the batches of the steps ``first_step`` (from 0) to ``n_steps``: (batch_size, d) float32.

    Epochs follow one another without a gap, so every batch is full, and what a step sees is a function
    of the step alone. A batch stays as it is while somebody holds it; see `gather.Buffers`. ``pinned``
    puts it into memory that a GPU reads faster. ``share``, first and last row (exclusive), yields only those
    of every batch.
    """
    low, high = share or (0, batch_size)
    buffers = Buffers((high - low, vectors.d), pinned)
    windows = order.windows(vectors.n, seed, first_step * batch_size, n_steps * batch_size)
    batch, filled = None, 0
    with closing(vectors.opened(windows)) as opened:  # type: ignore[type-var]
        for values, indices in opened:
            done = 0
            while done < len(indices):
                batch = buffers.take() if batch is None else batch
                n = min(batch_size - filled, len(indices) - done)
                first, last = max(filled, low), min(filled + n, high)
                if first < last:
                    chosen = indices[done + first - filled : done + last - filled]
                    take_rows(values, chosen, vectors.dtype, batch[first - low : last - low])
                done, filled = done + n, filled + n
                if filled == batch_size:
                    yield batch
                    batch, filled = None, 0
