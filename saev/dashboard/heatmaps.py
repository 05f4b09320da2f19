"""Computes where a latent fires in its images: its activation on every patch."""

from pathlib import Path

import numpy as np

from saev.dashboard.fired import Each, Reading, fired


def make_heatmaps(
    path: Path,
    source: Reading,
    rows: np.ndarray,
    peak: np.ndarray,
    each: Each = lambda *_: None,
    others: np.ndarray | None = None,
) -> np.ndarray:
    """Compute the heat maps of all latents on their images, image by image.

    Args:
        path: file for the result, which is mapped, not kept in memory.
        source: the dictionary, and what it reads.
        rows: (n, k) int64 row ids, −1 where absent.
        peak: (n,) float32, the largest activation of each latent, which becomes 255.
        each, others: see `fired`.

    Returns:
        (n, k, patches) uint8: 0 where the latent doesn't fire, at least 1 where it does.
    """
    shape = (*rows.shape, source.stream.n_patches)
    heat = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    for latent, slot, patches, values in fired(source, rows, "drawing heat maps", each, others):
        heat[latent, slot, patches] = as_bytes(values, peak[latent])
    return heat


def as_bytes(value: np.ndarray, peak: np.float32 | float) -> np.ndarray:
    """Positive activations as parts of ``peak``, which is 255: uint8, at least 1."""
    return np.clip(np.ceil(255 * value / peak), 1, 255).astype(np.uint8)
