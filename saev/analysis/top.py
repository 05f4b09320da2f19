"""The images with the largest activation of each latent."""

import numpy as np


class Top:
    """For each latent its k images of largest activation, ties to the lower row id.

    An image comes in once, with its largest patch (the first of equal ones). What is kept depends only
    on the set of entries, not on their order or grouping, as long as an image comes in one `add`.

    Args:
        n_latents: number of latents.
        k: images kept for each.

    Attributes:
        values: (n, k) float32, descending; rows: (n, k) int64; patches: (n, k) int32. -1 is absent.
    """

    def __init__(self, n_latents: int, k: int) -> None:
        self.k = k
        self.values = np.full((n_latents, k), -1, np.float32)
        self.rows = np.full((n_latents, k), -1, np.int64)
        self.patches = np.full((n_latents, k), -1, np.int32)

    def candidates(self, latents: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Indices of entries that could come in, for rows above or below all that are kept."""
        # Equal to the k-th counts, as its row may be the lower one.
        return np.flatnonzero(values >= self.values[latents, self.k - 1])

    def add(
        self, latents: np.ndarray, values: np.ndarray, rows: np.ndarray, patches: np.ndarray
    ) -> None:
        """Take in the entries of images that haven't come in before.

        Args:
            latents, values, rows, patches: (m,) each: the latent, its positive activation, the image
                and the patch (-1 where vectors are no patches), in any order.
        """
        if not len(latents):
            return
        order = np.lexsort((patches, -values, rows, latents))
        latents, values, rows, patches = (a[order] for a in (latents, values, rows, patches))
        first = np.ones(len(latents), bool)
        first[1:] = (latents[1:] != latents[:-1]) | (rows[1:] != rows[:-1])
        latents, values, rows, patches = (a[first] for a in (latents, values, rows, patches))
        self._merge(latents, values, rows, patches)

    def absorb(self, other: "Top") -> None:
        """Take in what another part of the listing has kept."""
        present = other.rows >= 0
        latents = np.nonzero(present)[0]
        self._merge(latents, other.values[present], other.rows[present], other.patches[present])

    def _merge(
        self, latents: np.ndarray, values: np.ndarray, rows: np.ndarray, patches: np.ndarray
    ) -> None:
        affected = np.unique(latents)
        kept = self.rows[affected] >= 0
        latents = np.concatenate([np.broadcast_to(affected[:, None], kept.shape)[kept], latents])
        values = np.concatenate([self.values[affected][kept], values])
        rows = np.concatenate([self.rows[affected][kept], rows])
        patches = np.concatenate([self.patches[affected][kept], patches])
        order = np.lexsort((rows, -values, latents))
        latents = latents[order]
        rank = np.arange(len(latents)) - np.searchsorted(latents, latents)
        order, latents, rank = (a[rank < self.k] for a in (order, latents, rank))
        self.values[latents, rank] = values[order]
        self.rows[latents, rank] = rows[order]
        self.patches[latents, rank] = patches[order]
