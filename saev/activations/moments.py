"""Statistics of activations per dimension, in float64, from fixed blocks merged in row order.

Means and variances are merged by the formula of Chan, Golub and LeVeque ("Updating formulae and a
pairwise algorithm for computing sample variances", 1979), which stays accurate for large means.
"""

from typing import NamedTuple, Self

import numpy as np

CHUNK = 4096
"""Vectors converted to float64 at a time."""


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
            part = vectors[start : start + CHUNK].astype(np.float64)
            mean = part.mean(axis=0)
            total = total.merged(
                cls(
                    len(part),
                    mean,
                    np.square(part - mean).sum(axis=0),
                    part.min(axis=0),
                    part.max(axis=0),
                    float(np.sqrt(np.square(part).sum(axis=1)).sum()),
                )
            )
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
