"""Statistics of activations per dimension, in float64, from fixed blocks merged in row order.

Means and variances are merged by the formula of Chan, Golub and LeVeque ("Updating formulae and a
pairwise algorithm for computing sample variances", 1979), which stays accurate for large means.
"""

from typing import NamedTuple, Self

import numpy as np

from saev.core.compiled import compiled

CHUNK = 4096
"""Vectors summed at a time, before they are merged with others."""
ROWS = 128
"""Vectors converted to float64 at a time: they stay in the processor's cache."""


class Moments(NamedTuple):
    """Statistics of some vectors."""

    count: int  # type: ignore[assignment]
    """Number of vectors."""
    mean: np.ndarray
    """(d,) float64."""
    m2: np.ndarray
    """(d,) float64: sum of squared deviations from the mean."""
    min: np.ndarray
    """(d,) float64, 0 for no vectors."""
    max: np.ndarray
    """(d,) float64, 0 for no vectors."""
    norms: float
    """Sum of the norms of the vectors."""

    @classmethod
    def empty(cls, d: int) -> Self:
        """Statistics of no vectors of width ``d``."""
        return cls(0, np.zeros(d), np.zeros(d), np.zeros(d), np.zeros(d), 0.0)

    @classmethod
    def of(cls, vectors: np.ndarray) -> Self:
        """Statistics of (n, d) float32 vectors, summed in chunks of a fixed size."""
        total = cls.empty(vectors.shape[1])
        for start in range(0, len(vectors), CHUNK):
            part = vectors[start : start + CHUNK]
            d, n = vectors.shape[1], len(part)
            sums, m2 = np.zeros(d), np.zeros(d)
            low, high = np.full(d, np.inf), np.full(d, -np.inf)
            _add(part, sums, low, high)
            mean = sums / n
            _add_deviations(part, mean, m2)
            norms = np.empty(n)
            for i in range(0, n, ROWS):
                rows = part[i : i + ROWS].astype(np.float64)
                norms[i : i + ROWS] = np.sqrt(np.square(rows).sum(axis=1))
            total = total.merged(cls(n, mean, m2, low, high, float(norms.sum())))
        return total

    def merged(self, other: Self) -> Self:
        """Statistics of these vectors and those of ``other`` together."""
        count = self.count + other.count
        if not self.count or not other.count:
            return other if other.count else self
        shift = other.mean - self.mean
        return type(self)(
            count,
            self.mean + shift * (other.count / count),
            self.m2 + other.m2 + np.square(shift) * (self.count * other.count / count),
            np.minimum(self.min, other.min),
            np.maximum(self.max, other.max),
            self.norms + other.norms,
        )

    def std(self) -> np.ndarray:
        """Population standard deviation, (d,) float64."""
        return np.sqrt(self.m2 / max(1, self.count))

    def arrays(self) -> dict[str, np.ndarray]:
        """The fields as arrays, for a file."""
        return {
            "count": np.array([self.count], np.int64),
            "mean": self.mean,
            "m2": self.m2,
            "min": self.min,
            "max": self.max,
            "norms": np.array([self.norms], np.float64),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Self:
        """The inverse of `arrays`."""
        return cls(
            int(arrays["count"][0]),
            arrays["mean"],
            arrays["m2"],
            arrays["min"],
            arrays["max"],
            float(arrays["norms"][0]),
        )


# Row by row, as numpy sums along the first axis, so the bits are numpy's, in a quarter of its time.
@compiled()
def _add(vectors, sums, low, high):
    for i in range(vectors.shape[0]):
        for j in range(vectors.shape[1]):
            value = np.float64(vectors[i, j])
            sums[j] += value
            low[j] = min(low[j], value)
            high[j] = max(high[j], value)


@compiled()
def _add_deviations(vectors, mean, m2):
    for i in range(vectors.shape[0]):
        for j in range(vectors.shape[1]):
            deviation = np.float64(vectors[i, j]) - mean[j]
            m2[j] += deviation * deviation
