"""Histogram of activations over fixed log2 bins."""

import numpy as np

BINS_PER_OCTAVE = 2
EDGES = np.exp2(np.arange(-16 * BINS_PER_OCTAVE, 16 * BINS_PER_OCTAVE + 1) / BINS_PER_OCTAVE)
"""(65,) float64: half octaves from 2^-16 to 2^16. The first and last bins count all beyond them."""

BINS = len(EDGES) - 1


def _float32_edges() -> np.ndarray:
    # The smallest float32 that isn't below the edge: comparing with it gives the same result.
    edges = EDGES.astype(np.float32)
    below = edges.astype(np.float64) < EDGES
    edges[below] = np.nextafter(edges[below], np.float32(np.inf))
    return edges


def _tables() -> tuple[np.ndarray, np.ndarray]:
    """For each value of the upper 16 bits of a positive float32: the bin of the smallest number
    with these bits, and the next edge. These numbers span at most 1/128 of their value, so at most
    one edge lies among them."""
    edges = _float32_edges()
    least = (np.arange(1 << 15, dtype=np.uint32) << 16).view(np.float32)
    bins = np.searchsorted(edges, np.nan_to_num(least, nan=np.inf), side="right") - 1
    bins = np.clip(bins, 0, BINS - 1)
    above = np.where(bins < BINS - 1, edges[bins + 1], np.float32(np.inf)).astype(np.float32)
    return bins, above


_BIN, _ABOVE = _tables()


def bin_of(values: np.ndarray) -> np.ndarray:
    """Return the bin of each positive activation: b with EDGES[b] <= value < EDGES[b + 1].

    Equal to ``np.searchsorted(EDGES, values, side="right") - 1``, clipped to the bins.

    Args:
        values: (m,) float32, positive.

    Returns:
        (m,) int64.
    """
    cell = np.ascontiguousarray(values).view(np.uint32) >> 16
    return _BIN[cell] + (values >= _ABOVE[cell])
