"""Spatial structure: whether the patches on which a latent fires lie beside each other.

Moran's I (Moran 1950, Notes on continuous stochastic phenomena, Biometrika 37) of the map x of a
latent on a grid of P patches, where w_ij is 1 for the neighbours above, below, left and right::

    I = P / Σ_ij w_ij · Σ_ij w_ij (x_i − x̄)(x_j − x̄) / Σ_i (x_i − x̄)²

It is near 1 for one compact region, −1 / (P − 1) on average for patches in random order, and
negative for a chequerboard. A latent's figure is the mean over the images on which it fires on two
patches or more, and not on all patches alike.
"""

import numpy as np

from saev.evaluate.firing import Firing
from saev.evaluate.results import Figure, Results, mean_of

SHUFFLED = "shuffled_patches"


class Grid:
    """The neighbours on a grid of ``rows`` × ``columns`` patches, row by row."""

    def __init__(self, rows: int, columns: int) -> None:
        self.n, self.columns = rows * columns, columns
        across, down = np.arange(self.n) % columns, np.arange(self.n) // columns
        self.has_right, self.has_below = across < columns - 1, down < rows - 1
        self.degree = self.has_right.astype(np.int64) + self.has_below + (across > 0) + (down > 0)
        """(P,) int64, neighbours of each patch."""


def moran(
    group: np.ndarray, patch: np.ndarray, value: np.ndarray, n_groups: int, grid: Grid
) -> np.ndarray:
    """Moran's I of sparse maps.

    Args:
        group: (m,) int64, the map that an entry belongs to; patch: (m,) int64; value: (m,) float64.
            Entries are sorted by map and patch; patches without one are 0.
        n_groups: number of maps, g.

    Returns:
        (g,) float64; NaN for a map with one patch at most, or with the same value everywhere.
    """
    total = np.bincount(group, value, n_groups)
    squares = np.bincount(group, value * value, n_groups)
    by_degree = np.bincount(group, value * grid.degree[patch], n_groups)
    products = np.zeros(n_groups)
    key = group * grid.n + patch
    for has, step in ((grid.has_right, 1), (grid.has_below, grid.columns)):
        here = np.flatnonzero(has[patch])
        at = np.searchsorted(key, key[here] + step)
        there = np.flatnonzero(at < len(key))
        there = there[key[at[there]] == key[here[there]] + step]
        first, second = here[there], at[there]
        products += np.bincount(group[first], value[first] * value[second], n_groups)
    weights = int(grid.degree.sum())
    mean = total / grid.n
    # Σ_ij w_ij (x_i − x̄)(x_j − x̄); each pair of neighbours counts in both directions.
    across = 2 * products - 2 * mean * by_degree + mean * mean * weights
    spread = squares - grid.n * mean * mean
    several = np.bincount(group, minlength=n_groups) >= 2
    # A remainder of rounding isn't variance.
    defined = several & (spread > 1e-9 * squares) & (weights > 0)
    found = np.full(n_groups, np.nan)
    found[defined] = grid.n / weights * across[defined] / spread[defined]
    return found


class Maps:
    """Adds up Moran's I over images, of the maps and of the same with shuffled patches.

    Args:
        n_latents: number of latents.
        rows, columns: the grid of patches.
        seed: of the shuffles.
    """

    def __init__(self, n_latents: int, rows: int, columns: int, seed: int) -> None:
        self.n_latents, self.grid, self.seed = n_latents, Grid(rows, columns), seed
        self.sums, self.shuffled = np.zeros((2, n_latents))
        self.n_maps = np.zeros(n_latents, np.int64)

    def add(self, seen: Firing) -> None:
        """Take a step: see `Observer`."""
        if not len(seen.latent):
            return
        pair = seen.image * self.n_latents + seen.latent
        # The row ids decide the shuffle, so it doesn't matter how images are grouped.
        moved = np.stack(
            [np.random.default_rng([self.seed, row]).permutation(self.grid.n) for row in seen.rows]
        )[seen.image, seen.patch]
        distinct, group = np.unique(pair, return_inverse=True)
        latent = distinct % self.n_latents
        for patch, sums in ((seen.patch, self.sums), (moved, self.shuffled)):
            order = np.lexsort((patch, group))
            value = seen.value[order].astype(np.float64)
            found = moran(group[order], patch[order], value, len(distinct), self.grid)
            known = ~np.isnan(found)
            np.add.at(sums, latent[known], found[known])
        np.add.at(self.n_maps, latent[known], 1)

    def results(self, seed: int) -> Results:
        """The figure and the columns."""
        some = self.n_maps > 0
        found, chance = (
            np.divide(sums, self.n_maps, out=np.full(self.n_latents, np.nan), where=some)
            for sums in (self.sums, self.shuffled)
        )
        figure = Figure(
            "spatial",
            "mean",
            mean_of(found, seed),
            int(some.sum()),
            "latents",
            {SHUFFLED: mean_of(chance, seed)},
            why="no latent fires on two patches of an image, and not on all alike",
        )
        return Results([figure], {"moran_i": found, "moran_i_images": self.n_maps})
