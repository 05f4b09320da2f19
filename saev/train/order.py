"""The order in which training sees vectors.

It depends only on the seed, the epoch, the number of vectors and two constants. Vectors are
divided, by index, into blocks of ``BLOCK_VECTORS``. An epoch permutes the blocks and fills windows
of about ``WINDOW_VECTORS`` with them. Then it permutes all vectors of each window. So a reader that
holds one window at a time needs only large contiguous reads, and sees the same order as one that
holds all vectors. Up to ``WINDOW_VECTORS`` vectors there is one window: a plain permutation.

The constants aren't settings, because they change results, and choices of memory and disk must not.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

BLOCK_VECTORS = 2048
"""How many neighbours by index stay in one window: 4 MiB at 1,024 float16 values each."""
WINDOW_VECTORS = 262_144
"""Largest number of vectors that are shuffled together: 128 blocks, 512 MiB at 1,024 float16 values
each."""
WITHIN = 3
"""Part of the random key for draws within windows. It sets them apart from draws of blocks."""


class Window(NamedTuple):
    """Vectors that are shuffled together, and which stretch of them to take."""

    starts: np.ndarray
    """(k,) int64, first index of each block. The blocks fill the window in this order."""
    stops: np.ndarray
    """(k,) int64, end of each block."""
    key: list[int]
    """Key of the random generator that permutes the window."""
    first: int
    """Where the stretch starts in the permuted window: not 0 if a training resumes within it."""
    last: int
    """Where it ends."""

    @property
    def size(self) -> int:
        """Vectors in the window."""
        return int((self.stops - self.starts).sum())

    def places(self) -> np.ndarray:
        """Places in the window (its blocks one after the other) in training order: (m,) int64."""
        return np.random.default_rng(self.key).permutation(self.size)[self.first : self.last]

    def indices(self) -> np.ndarray:
        """Indices of vectors in training order: (m,) int64."""
        laid = [np.arange(a, b) for a, b in zip(self.starts, self.stops, strict=True)]
        return np.concatenate(laid)[self.places()]


def epoch_windows(n: int, seed: int, epoch: int) -> Iterator[Window]:
    """Yield the windows of an epoch over ``n`` vectors, each with its whole stretch."""
    n_blocks = -(-n // BLOCK_VECTORS)
    n_windows = -(-n_blocks // max(1, WINDOW_VECTORS // BLOCK_VECTORS))
    if n <= WINDOW_VECTORS:
        yield _window(np.arange(n_blocks), n, [seed, epoch])
        return
    blocks = np.random.default_rng([seed, epoch]).permutation(n_blocks)
    # Windows have nearly equal sizes, so that the last one isn't just a few neighbours.
    for i, part in enumerate(np.array_split(blocks, n_windows)):
        yield _window(part, n, [seed, epoch, WITHIN, i])


def windows(n: int, seed: int, start: int, stop: int) -> Iterator[Window]:
    """Yield the windows that hold the vectors ``start`` to ``stop`` of a training.

    Epochs follow one another without a gap: vector ``p`` belongs to epoch ``p // n``.
    """
    for epoch in range(start // n, -(-stop // n)):
        at = epoch * n
        for window in epoch_windows(n, seed, epoch):
            first, last = max(0, start - at), min(window.size, stop - at)
            if first < last:
                yield window._replace(first=first, last=last)
            at += window.size


def _window(blocks: np.ndarray, n: int, key: list[int]) -> Window:
    starts = blocks * BLOCK_VECTORS
    window = Window(starts, np.minimum(starts + BLOCK_VECTORS, n), key, 0, 0)
    return window._replace(last=window.size)
