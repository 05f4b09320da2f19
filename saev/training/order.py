"""The order in which training sees vectors: a pure function of seed, epoch, number and two constants.

Vectors are cut, by index, into blocks of ``BLOCK_VECTORS``. An epoch permutes the blocks and deals
them out to windows of about ``WINDOW_VECTORS``; the vectors of each window are permuted as a whole. A
reader that holds a window at a time thus needs large contiguous reads only, and sees the same order as
one that holds everything. Up to ``WINDOW_VECTORS`` there is one window, hence a plain permutation.

The constants are no settings: they decide results, memory and disk reads must not.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

BLOCK_VECTORS = 2048
"""Neighbours by index that stay in one window: 4 MiB of 1,024 float16 values each."""
WINDOW_VECTORS = 262_144
"""Vectors at most that are shuffled together: 128 blocks, 512 MiB of 1,024 float16 values each."""
WITHIN = 3
"""Part of the key of the draws within windows, which sets them apart from those of blocks."""


class Window(NamedTuple):
    """The vectors that are shuffled together, and the stretch of them that is wanted."""

    starts: np.ndarray
    """(k,) int64, first index of each block, in the order in which they fill the window."""
    stops: np.ndarray
    """(k,) int64, end of each block."""
    key: list[int]
    """Of the generator that permutes the window."""
    first: int
    """Where in the permuted window the wanted stretch starts: not 0 when a training goes on."""
    last: int
    """Where it ends."""

    @property
    def size(self) -> int:
        """Vectors in the window."""
        return int((self.stops - self.starts).sum())

    def places(self) -> np.ndarray:
        """Places in the window (blocks laid one after the other) in training order: (m,) int64."""
        return np.random.default_rng(self.key).permutation(self.size)[self.first : self.last]

    def indices(self) -> np.ndarray:
        """Indices of vectors in training order: (m,) int64."""
        laid = [np.arange(a, b) for a, b in zip(self.starts, self.stops, strict=True)]
        return np.concatenate(laid)[self.places()]


def epoch_windows(n: int, seed: int, epoch: int) -> Iterator[Window]:
    """Yield the windows of an epoch over ``n`` vectors, each wanted as a whole."""
    n_blocks = -(-n // BLOCK_VECTORS)
    n_windows = -(-n_blocks // max(1, WINDOW_VECTORS // BLOCK_VECTORS))
    if n <= WINDOW_VECTORS:
        yield _window(np.arange(n_blocks), n, [seed, epoch])
        return
    blocks = np.random.default_rng([seed, epoch]).permutation(n_blocks)
    # Of nearly equal size, so that the last one isn't a few neighbours.
    for i, part in enumerate(np.array_split(blocks, n_windows)):
        yield _window(part, n, [seed, epoch, WITHIN, i])


def windows(n: int, seed: int, start: int, stop: int) -> Iterator[Window]:
    """Yield what is wanted of each window from vector ``start`` to ``stop`` of a training.

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
