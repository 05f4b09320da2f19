"""The images with the largest activation of each latent."""

import numpy as np


class Top:
    """For each latent, the k images with the largest activation. In a tie, the lower row id wins.

    An image is listed once, with its largest patch (the first one of a tie). The result depends
    only on the set of entries, not on their order or grouping, as long as each image is complete
    before a `flush`.

    Args:
        n_latents: number of latents.
        k: how many images to keep for each.

    Attributes:
        values: (n, k) float32, descending; rows: (n, k) int64; patches: (n, k) int32. -1 is absent.
    """

    def __init__(self, n_latents: int, k: int) -> None:
        self.n_latents, self.k = n_latents, k
        self.values = np.full((n_latents, k), -1, np.float32)
        self.rows = np.full((n_latents, k), -1, np.int64)
        self.patches = np.full((n_latents, k), -1, np.int32)
        self._pending: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
        self._n_pending = 0

    def candidates(self, latents: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Indices of entries that could be among the k largest."""
        # Include ties with the k-th, because the row may be lower.
        return np.flatnonzero(values >= self.values[latents, self.k - 1])

    def add(
        self,
        latents: np.ndarray,
        values: np.ndarray,
        rows: np.ndarray,
        patches: np.ndarray,
        complete: bool = True,
    ) -> None:
        """Add entries of images that weren't complete before. `flush` makes them visible.

        Args:
            latents, values, rows, patches: (m,) each: the latent, its positive activation, the
                image and the patch (-1 where vectors are no patches), in any order.
            complete: whether these images get no more entries.
        """
        self._pending.append((latents, values, rows, patches))
        self._n_pending += len(latents)
        # Sort only when there are as many new entries as kept ones.
        if complete and self._n_pending >= self.values.size:
            self.flush()

    def flush(self) -> None:
        """Update `values`, `rows` and `patches` with the added entries."""
        if not self._n_pending:
            return
        latents, values, rows, patches = (
            np.concatenate(column) for column in zip(*self._pending, strict=True)
        )
        self._pending, self._n_pending = [], 0
        self._merge(*_largest_patches(latents, values, rows, patches))

    def absorb(self, other: "Top") -> None:
        """Add what another part of the listing has kept."""
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
        order = _ranking(latents, values, rows)
        latents = latents[order]
        rank = np.arange(len(latents)) - np.searchsorted(latents, latents)
        order, latents, rank = (a[rank < self.k] for a in (order, latents, rank))
        self.values[latents, rank] = values[order]
        self.rows[latents, rank] = rows[order]
        self.patches[latents, rank] = patches[order]


def _largest_patches(
    latents: np.ndarray, values: np.ndarray, rows: np.ndarray, patches: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """For each latent and image, the entry with the largest value; in a tie, the lowest patch."""
    least = rows.min()
    keys = latents * (rows.max() - least + 1) + (rows - least)
    order = np.argsort(keys)
    keys, latents, values, rows, patches = (
        a[order] for a in (keys, latents, values, rows, patches)
    )
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    if len(first) == len(keys):
        return latents, values, rows, patches
    largest = np.maximum.reduceat(values, first)
    is_largest = values == np.repeat(largest, np.diff(first, append=len(keys)))
    beyond = np.iinfo(patches.dtype).max
    patch = np.minimum.reduceat(np.where(is_largest, patches, beyond), first)
    return latents[first], largest, rows[first], patch


def _ranking(latents: np.ndarray, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Indices that sort by latent, then value descending, then row."""
    # The bits of positive floats sort like the floats. Sorting by one key is several times faster.
    keys = (latents.astype(np.uint64) << 32) | ~values.view(np.uint32)
    order = np.argsort(keys)
    keys = keys[order]
    same = keys[1:] == keys[:-1]
    tied = np.flatnonzero(np.concatenate([[False], same]) | np.concatenate([same, [False]]))
    among = order[tied]
    order[tied] = among[np.lexsort((rows[among], keys[tied]))]
    return order
