"""Activations as vectors in training order.

The index of a training vector is: position of its image among the training images × n_patches + its
patch. `order` gives the order of the indices. Vectors are in memory, or in files that are read one
window at a time. This changes neither the order nor a byte.
"""

from collections.abc import Iterator
from contextlib import closing
from typing import Protocol

import numpy as np

from saev.activations.artifact import Activations, Stream, to_float32
from saev.core.errors import UserError
from saev.train import order
from saev.train.gather import Buffers, can_pin, take_rows
from saev.train.memory import free_memory
from saev.train.read_ahead import read_ahead
from saev.train.reading import Files, Reader

STORED = {"float16": np.float16, "float32": np.float32, "bfloat16": np.uint16}
"""Numpy types of stored vectors."""
MEMORY_SHARE = 0.5
"""Share of the free memory that the vectors may take, unless the settings say otherwise."""


class Vectors(Protocol):
    """Vectors that can be gathered by index, or window by window."""

    n: int
    d: int
    dtype: str
    """``float16``, ``float32`` or ``bfloat16``."""

    def gather(self, indices: np.ndarray) -> np.ndarray:
        """The vectors at ``indices`` (b,) int64, as (b, d) float32."""

    def opened(self, windows: Iterator[order.Window]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield for each window the stored vectors (v, d), and their order (m,) int64."""


def load(
    activations: Activations,
    stream: Stream,
    rows: np.ndarray,
    in_memory: str = "auto",
    processes: int = 1,
    mem_mb: int | None = None,
) -> Vectors:
    """Open the vectors of the images ``rows`` (m,), ascending: in memory, or read when needed.

    Args:
        activations, stream, rows: what to train on.
        in_memory: ``always``, ``never``, or ``auto``, which uses memory if there is enough.
        processes: how many processes on this machine do the same; mem_mb: see `free_memory`.

    Raises:
        UserError: there isn't enough memory for ``always``.
    """
    vector = stream.d * (4 if activations.dtype == "float32" else 2)
    n, free = len(rows) * stream.n_patches, free_memory(mem_mb) // processes
    if in_memory == "always" and n * vector > free:
        each = f" for each of {processes} processes" if processes > 1 else ""
        raise UserError(
            f"compute.data_in_memory is always, but {n:,} vectors of {stream.name} take "
            f"{n * vector / 2**30:,.1f} GiB and only {free / 2**30:,.1f} GiB of memory are "
            f"free{each}: use auto or never (the result is the same), or a machine with more "
            f"memory",
            may_pass=True,
        )
    # Streaming needs two windows in memory anyway.
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
    """Vectors that stay in the files of the shards; see `Vectors`."""

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
            # Read in the order of the file, so that a disk reads forwards.
            forward = np.argsort(at, kind="stable")
            chosen = values[at[forward], patches[here[forward]]]
            out[here[forward]] = to_float32(chosen, self.dtype)
        return out

    def opened(self, windows: Iterator[order.Window]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return read_ahead(self.files, windows, min(self.n, order.WINDOW_VECTORS))


def sample(n: int, at_most: int, key: list[int]) -> np.ndarray:
    """Draw ``min(n, at_most)`` distinct indices below ``n`` from ``default_rng(key)``,
    ascending."""
    if n <= at_most:
        return np.arange(n)
    return np.sort(np.random.default_rng(key).choice(n, at_most, replace=False, shuffle=False))


def batches(
    vectors: Vectors,
    batch_size: int,
    seed: int,
    first_step: int,
    n_steps: int,
    for_gpu: bool = False,
    share: tuple[int, int] | None = None,
) -> Iterator[np.ndarray]:
    """Yield the batches (batch_size, d) of steps ``first_step`` (from 0) to ``n_steps``.

    Epochs follow one another without a gap. So every batch is full, and the batch of a step depends
    only on the step. A batch keeps its content as long as you keep it; see `gather.Buffers`.

    Args:
        vectors, batch_size, seed, first_step, n_steps: which.
        for_gpu: yield vectors as they are stored, which is half the bytes for half types, in memory
            that a GPU reads faster. `Trainer` widens them there. Otherwise they are float32.
        share: a first and a last row (exclusive): only these rows of each batch are yielded.
    """
    low, high = share or (0, batch_size)
    shape, stored = (high - low, vectors.d), STORED[vectors.dtype]
    buffers = Buffers(shape, can_pin(), stored) if for_gpu else Buffers(shape)
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
