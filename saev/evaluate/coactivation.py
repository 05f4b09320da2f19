"""Co-activation: which latents fire on the same vectors more often than chance lets them.

Pointwise mutual information (Church and Hanks 1990, Word association norms) of two latents that
fire on n_j and n_k of N vectors, and on n_jk together::

    PMI(j, k) = ln(N · n_jk / (n_j · n_k))

0 is what independent latents have. Pairs with n_jk < 10 say too little and are left out.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from saev.analyze.counts import LIMIT, Counter, merged, open_counts
from saev.evaluate.firing import Firing
from saev.evaluate.results import Figure, Measured, Results, mean_of

PARTNERS_KEPT = 8
FEWEST = 10
"""A pair needs to fire together on as many vectors as this."""
PAIRS = 1 << 21
"""Pairs that are made at once, roughly. Bounds memory and changes no count."""


class Pairs:
    """Counts how often pairs of latents fire on the same vector.

    Args:
        folder: an empty folder for what doesn't fit into memory.
        n_latents: number of latents.
        pairs: about how many pairs to make at once; limit: see `Counter`.
    """

    def __init__(
        self, folder: Path, n_latents: int, pairs: int = PAIRS, limit: int = LIMIT
    ) -> None:
        self.folder, self.n_latents, self.pairs, self.limit = folder, n_latents, pairs, limit
        self.counter = Counter(folder, n_latents, limit)
        self.n_fired = np.zeros(n_latents, np.int64)
        self.n_vectors = 0

    def add(self, seen: Firing) -> None:
        """Take a step: see `Observer`."""
        self.n_vectors += len(seen.rows) * seen.n_patches
        np.add.at(self.n_fired, seen.latent, 1)
        vector = seen.image * seen.n_patches + seen.patch
        _, starts, counts = np.unique(vector, return_index=True, return_counts=True)
        made = np.cumsum(counts * counts)
        low = 0
        while low < len(counts):
            before = made[low - 1] if low else 0
            high = max(low + 1, int(np.searchsorted(made, before + self.pairs, side="right")))
            self.counter.add(*_pairs(seen.latent, starts[low:high], counts[low:high]))
            low = high

    def partners(self) -> Iterator[dict[str, np.ndarray]]:
        """For each latent its partners by falling PMI, a range of latents at a time.

        Yields:
            columns ``latent``, ``partner``, ``count`` (m,) int64 and ``pmi`` (m,) float64.
        """
        self.counter.flush()
        runs = [
            open_counts(self.folder, f"run-{i:05}", self.n_latents)
            for i in range(self.counter.n_runs)
        ]
        for keys, counts in merged(runs, self.n_latents, self.n_latents, self.limit):
            enough = counts >= FEWEST
            latent, partner = np.divmod(keys[enough], self.n_latents)
            together = counts[enough]
            yield best(latent, partner, together, pmi(self, latent, partner, together))


def _pairs(
    latent: np.ndarray, starts: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """All ordered pairs of two latents of the same vector.

    Args:
        latent: (m,) int64; starts, counts: where the vectors start in it, and their lengths.
    """
    sizes = counts * counts
    vector = np.repeat(np.arange(len(counts)), sizes)
    within = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    one, other = np.divmod(within, counts[vector])
    different = one != other
    first = starts[vector[different]]
    return latent[first + one[different]], latent[first + other[different]]


def pmi(
    counted: Pairs, latent: np.ndarray, partner: np.ndarray, together: np.ndarray
) -> np.ndarray:
    """PMI of pairs (m,), from how often both fire: (m,) float64."""
    alone = counted.n_fired.astype(np.float64)
    expected = alone[latent] * alone[partner] / counted.n_vectors
    found: np.ndarray = np.log(together / expected)
    return found


def best(
    latent: np.ndarray, partner: np.ndarray, count: np.ndarray, found: np.ndarray
) -> dict[str, np.ndarray]:
    """The `PARTNERS_KEPT` pairs of each latent with the largest PMI; ties by lower number."""
    order = np.lexsort((partner, -found, latent))
    ordered = latent[order]
    first = np.searchsorted(ordered, ordered)
    kept = order[np.arange(len(order)) - first < PARTNERS_KEPT]
    return {
        "latent": latent[kept],
        "partner": partner[kept],
        "count": count[kept],
        "pmi": found[kept],
    }


def results(pieces: list[dict[str, np.ndarray]], n_latents: int, seed: int) -> Results:
    """The figure and the column, from all that `Pairs.partners` yields."""
    largest = np.full(n_latents, np.nan)
    for piece in pieces:
        owner, at = np.unique(piece["latent"], return_index=True)
        largest[owner] = piece["pmi"][at]
    figure = Figure(
        "coactivation",
        "mean_largest_pmi",
        mean_of(largest, seed),
        int((~np.isnan(largest)).sum()),
        "latents",
        {"independent_latents": Measured(0.0)},
        why=f"no two latents fire together on {FEWEST} vectors",
        note=f"over latents with a partner of {FEWEST} vectors or more",
    )
    return Results([figure], {"pmi": largest})
