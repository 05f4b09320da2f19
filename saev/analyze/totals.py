"""What an analysis sums up and keeps of each latent."""

import numpy as np

from saev.analyze.histogram import BINS
from saev.analyze.reconstruction import SplitSums
from saev.analyze.top import Kept, drawn, strongest, weakest

N_WEAKEST, N_DRAWN = 8, 32
"""How many images are kept for each latent beside the strongest: those with its weakest activation,
and a random sample of those on which it fires."""


class Totals:
    """Sums over a part, or over all parts in row order.

    Attributes:
        top, weakest, drawn: the images that are kept; image_count: (n,) int64;
        histogram: (n, BINS) int64; positions: (n, cells) int64, vectors by place in the image;
        sum_activation: (n,) float64; splits: sums by split; n_rows: number of images seen.
    """

    KEPT = ("top", "weakest", "drawn")
    COUNTS = ("image_count", "histogram", "positions", "sum_activation")

    def __init__(
        self, n_latents: int, d: int, k: int, n_cells: int, splits: tuple[str, ...]
    ) -> None:
        self.top = Kept(n_latents, k, strongest)
        self.weakest = Kept(n_latents, N_WEAKEST, weakest)
        self.drawn = Kept(n_latents, N_DRAWN, drawn)
        self.positions = np.zeros((n_latents, n_cells), np.int64)
        self.image_count = np.zeros(n_latents, np.int64)
        self.histogram = np.zeros((n_latents, BINS), np.int64)
        self.sum_activation = np.zeros(n_latents)
        self.splits = {name: SplitSums(d) for name in splits}
        self.n_rows = 0

    @property
    def fire_count(self) -> np.ndarray:
        """(n,) int64: on how many vectors each latent fires."""
        return self.histogram.sum(1)

    def add(self, later: "Totals") -> None:
        """Add the sums of a later part of the listing."""
        for name in self.KEPT:
            getattr(self, name).absorb(getattr(later, name))
        for name in self.COUNTS:
            setattr(self, name, getattr(self, name) + getattr(later, name))
        for name, sums in later.splits.items():
            self.splits[name].add(sums)
        self.n_rows += later.n_rows

    def arrays(self) -> dict[str, np.ndarray]:
        """All sums as arrays, for a file."""
        arrays = {name: getattr(self, name) for name in self.COUNTS}
        arrays["n_rows"] = np.array([self.n_rows], np.int64)
        for name in self.KEPT:
            arrays |= getattr(self, name).arrays(name)
        for name, sums in self.splits.items():
            for field in ("counts", "sums", "vector"):
                arrays[f"{name}.{field}"] = getattr(sums, field)
        return arrays

    @staticmethod
    def from_arrays(arrays: dict[str, np.ndarray], splits: tuple[str, ...]) -> "Totals":
        """The inverse of `arrays`."""
        n, k = arrays["top_values"].shape
        n_cells = arrays["positions"].shape[1]
        totals = Totals(n, len(arrays[f"{splits[0]}.vector"]), k, n_cells, splits)
        for name in totals.KEPT:
            getattr(totals, name).restore(name, arrays)
        for name in totals.COUNTS:
            setattr(totals, name, arrays[name])
        for name, sums in totals.splits.items():
            for field in ("counts", "sums", "vector"):
                setattr(sums, field, arrays[f"{name}.{field}"])
        totals.n_rows = int(arrays["n_rows"][0])
        return totals
