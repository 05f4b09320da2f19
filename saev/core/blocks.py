"""Fixed blocks of the listing, and the split of images into training and held-out.

A sum of floats depends on how its terms are grouped. So every sum that reaches a file is taken over
these blocks, in row order. The size of a block is a constant, not a setting: shards, jobs, workers
and batch sizes may change, but the bytes may not.
"""

from collections.abc import Iterator

import numpy as np

BLOCK = 256
"""Rows of the listing in one block. Shards and parts of an analysis are multiples of it."""


def block_ranges(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield ``(start, stop)`` of each block of the listing that lies in ``[start, stop)``."""
    if start % BLOCK:
        raise ValueError(f"start {start} isn't a multiple of {BLOCK}")
    for first in range(start, stop, BLOCK):
        yield first, min(first + BLOCK, stop)


def held_out_mask(rows: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Tell which images are held out from training.

    The answer depends only on the row ids, the fraction and the seed. So an image stays on its side
    when other images are added or skipped, and no stage needs memory for all rows.

    Args:
        rows: (n,) int64 row ids, in any order.
        fraction: expected share of held-out images, 0 to 1.
        seed: the seed of the split.

    Returns:
        (n,) bool, True where the image is held out.
    """
    rows = np.asarray(rows, dtype=np.int64)
    mask = np.zeros(rows.shape, dtype=bool)
    order = np.argsort(rows, kind="stable")
    blocks, firsts = np.unique(rows[order] // BLOCK, return_index=True)
    for block, here in zip(blocks.tolist(), np.split(order, firsts[1:]), strict=False):
        draws = np.random.default_rng([seed, block]).random(BLOCK)
        mask[here] = draws[rows[here] % BLOCK] < fraction
    return mask
