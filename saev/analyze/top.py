"""Which images are kept for each latent: the strongest, the weakest, and some drawn at random."""

from collections.abc import Callable

import numpy as np

SEED = 0
"""Seed of the draw. Constant, so that the sample depends on the latent and the rows alone."""

Order = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Keys of images, (m,) uint32, from their latents (m,) int64, activations (m,) float32 and rows
(m,) int64. The images with the smallest keys are kept."""


def strongest(latents: np.ndarray, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Keys that keep the images with the largest activations."""
    return ~values.view(np.uint32)  # the bits of positive floats sort like the floats


def weakest(latents: np.ndarray, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Keys that keep the images with the smallest activations above 0."""
    return values.view(np.uint32)


def drawn(latents: np.ndarray, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Keys that keep a random sample: a hash of the seed, the latent and the row.

    So the sample doesn't depend on the order or grouping of the images. The hash is SplitMix64
    (Steele, Lea and Flood 2014, figure 17).
    """
    odd = np.uint64(0x9E3779B97F4A7C15)
    state = mixed(latents.astype(np.uint64) * odd + np.uint64(SEED))
    return (mixed(state + rows.astype(np.uint64) * odd) >> np.uint64(32)).astype(np.uint32)


def mixed(state: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64, modulo 2^64: (m,) uint64."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


class Kept:
    """For each latent, the k images that come first in an order. In a tie, the lower row id wins.

    The result depends only on the set of images, not on their order or grouping.

    Args:
        n_latents: number of latents.
        k: how many images to keep for each.
        order: the order.

    Attributes:
        values: (n, k) float32, the largest activation on the image; rows: (n, k) int64;
        patches: (n, k) int32, the patch with that activation. -1 is absent.
    """

    FIELDS = ("values", "rows", "patches")

    def __init__(self, n_latents: int, k: int, order: Order) -> None:
        self.n_latents, self.k, self.order = n_latents, k, order
        self.values = np.full((n_latents, k), -1, np.float32)
        self.rows = np.full((n_latents, k), -1, np.int64)
        self.patches = np.full((n_latents, k), -1, np.int32)
        self._last = np.full(n_latents, np.iinfo(np.uint32).max, np.uint32)
        self._pending: list[tuple[np.ndarray, ...]] = []
        self._n_pending = 0

    def add(
        self, latents: np.ndarray, values: np.ndarray, rows: np.ndarray, patches: np.ndarray
    ) -> None:
        """Add images, each once for a latent. `flush` makes them visible.

        Args:
            latents, values, rows, patches: (m,) each: the latent, its largest activation on the
                image, which is positive, the image, and the patch (-1 where vectors are no
                patches), in any order.
        """
        # Include ties with the last kept one, because the row may be lower.
        hit = np.flatnonzero(self.order(latents, values, rows) <= self._last[latents])
        self._pending.append((latents[hit], values[hit], rows[hit], patches[hit]))
        self._n_pending += len(hit)
        # Sort only when there are as many new entries as kept ones.
        if self._n_pending >= self.values.size:
            self.flush()

    def flush(self) -> None:
        """Update `values`, `rows` and `patches` with the added images."""
        if self._n_pending:
            latents, values, rows, patches = (
                np.concatenate(column) for column in zip(*self._pending, strict=True)
            )
            self._merge(latents, values, rows, patches)
        self._pending, self._n_pending = [], 0

    def absorb(self, other: "Kept") -> None:
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
        keys = self.order(latents, values, rows)
        order = _ranking(latents, keys, rows)
        latents = latents[order]
        rank = np.arange(len(latents)) - np.searchsorted(latents, latents)
        order, latents, rank = (a[rank < self.k] for a in (order, latents, rank))
        self.values[latents, rank] = values[order]
        self.rows[latents, rank] = rows[order]
        self.patches[latents, rank] = patches[order]
        full = rank == self.k - 1
        self._last[latents[full]] = keys[order[full]]

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """What is kept, as tensors called ``name_values``, ``name_rows`` and ``name_patches``."""
        return {f"{name}_{field}": getattr(self, field) for field in self.FIELDS}

    def restore(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """The inverse of `arrays`, to read or to be absorbed. Nothing can be added after it."""
        for field in self.FIELDS:
            setattr(self, field, arrays[f"{name}_{field}"])


def largest_patches(
    keys: np.ndarray, values: np.ndarray, patches: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each distinct key, the entry with the largest value; in a tie, the lowest patch.

    Args:
        keys: (m,) int64, one for each image and latent; values: (m,) float32;
        patches: (m,) int32.

    Returns:
        the distinct keys, ascending, and for each its value and its patch.
    """
    order = np.argsort(keys)
    keys, values, patches = (a[order] for a in (keys, values, patches))
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    if len(keys) == 0 or len(first) == len(keys):
        return keys, values, patches
    largest = np.maximum.reduceat(values, first)
    is_largest = values == np.repeat(largest, np.diff(first, append=len(keys)))
    beyond = np.iinfo(patches.dtype).max
    patch = np.minimum.reduceat(np.where(is_largest, patches, beyond), first)
    return keys[first], largest, patch


def _ranking(latents: np.ndarray, keys: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Indices that sort by latent, then key, then row."""
    # Sorting by one number is several times faster.
    keys = (latents.astype(np.uint64) << np.uint64(32)) | keys
    order = np.argsort(keys)
    keys = keys[order]
    same = keys[1:] == keys[:-1]
    tied = np.flatnonzero(np.concatenate([[False], same]) | np.concatenate([same, [False]]))
    among = order[tied]
    order[tied] = among[np.lexsort((rows[among], keys[tied]))]
    return order
