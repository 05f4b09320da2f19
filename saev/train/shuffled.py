"""Vectors whose dimensions are shuffled: a baseline in which nothing belongs together.

Every dimension of a batch is permuted by itself. So it keeps its distribution, and a vector is made
of the values of as many others as it has dimensions. The seed and the step decide the permutations,
so a training that resumes sees the same ones, and nothing is written.
"""

from collections.abc import Iterator

import numpy as np

from saev.train.loader import Vectors
from saev.train.order import Window

GATHERED, HELD_OUT, BATCHES = 3, 4, 5
"""What a permutation is for."""


def permute(values: np.ndarray, seed: int, purpose: int, number: int = 0) -> np.ndarray:
    """Permute each column of ``values`` (b, d) by itself, in place."""
    rng = np.random.default_rng([seed, 0, purpose, number])
    return rng.permuted(values, axis=0, out=values)


class ShuffledVectors:
    """Vectors of which those that are gathered together are shuffled; see `Vectors`.

    Args:
        vectors: which; seed: of the permutations.
    """

    def __init__(self, vectors: Vectors, seed: int) -> None:
        self.vectors, self.seed = vectors, seed
        self.n, self.d, self.dtype = vectors.n, vectors.d, vectors.dtype

    def gather(self, indices: np.ndarray) -> np.ndarray:
        return permute(self.vectors.gather(indices), self.seed, GATHERED)

    def opened(self, windows: Iterator[Window]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return self.vectors.opened(windows)


def shuffled_batches(
    batches: Iterator[np.ndarray], seed: int, first_step: int, share: tuple[int, int] | None
) -> Iterator[np.ndarray]:
    """Whole batches (b, d), shuffled.

    Args:
        batches: those of the steps from ``first_step`` on; share: see `loader.batches`.
    """
    low, high = share or (0, None)
    for step, batch in enumerate(batches, first_step):
        yield permute(batch, seed, BATCHES, step)[low:high]
