"""Average precision and intersection over union of many latents and classes, from histograms.

A vector has a class or not, and a latent's value on it is a score. With TP(t) vectors of the class
among n(t) with a value of t or more, P of the class in all and N altogether:

    AP = Σ_t (TP(t) − TP(t')) / P · TP(t) / n(t),   t' the next larger threshold

(as scikit-learn's ``average_precision_score``; the last threshold is 0, which all vectors reach),
and IoU(t) = TP(t) / (n(t) + P − TP(t)) (Jaccard 1912, The distribution of the flora in the alpine
zone) for thresholds at which the latent fires.

Values are counted in bins of their leading bits: `PER_OCTAVE` bins to a doubling. So nothing needs
to be known of the values before.
"""

from typing import NamedTuple

import numpy as np

DROPPED = 13
"""Trailing bits of a float32 that a bin leaves out of its 23 of the mantissa."""
PER_OCTAVE = 1 << (23 - DROPPED)
BINS = 1 << (31 - DROPPED)


def bin_of(values: np.ndarray) -> np.ndarray:
    """The bin of each value (m,) float32, positive: (m,) int64. It rises with the value."""
    return (np.ascontiguousarray(values).view(np.uint32) >> DROPPED).astype(np.int64)


def edge_of(bins: np.ndarray) -> np.ndarray:
    """The smallest value in each bin (m,) int64: (m,) float32."""
    return (bins.astype(np.uint32) << DROPPED).view(np.float32)


class Counted(NamedTuple):
    """How many vectors have which value, sorted by pair, then bin."""

    pair: np.ndarray
    """(m,) int64, ``latent * n_classes + number``. Number 0 counts all vectors, others a class."""
    bin: np.ndarray
    """(m,) int64."""
    n: np.ndarray
    """(m,) int64, positive."""


class Scores(NamedTuple):
    """Of each latent that fires on a vector of a class, for that class."""

    pair: np.ndarray
    """(p,) int64, ascending."""
    ap: np.ndarray
    """(p,) float64."""
    iou: np.ndarray
    """(p,) float64, the largest."""
    threshold: np.ndarray
    """(p,) int64, the bin from which the latent's values give it; the larger one in a tie."""


def scores(counted: Counted, sizes: np.ndarray) -> Scores:
    """Average precision and best IoU.

    Args:
        counted: the histograms of some latents.
        sizes: (n_classes,) int64, how many vectors there are: all (first), and of each class.
    """
    number = counted.pair % len(sizes)
    reached = _at_or_above(counted)
    of_all = number == 0
    latent = counted.pair // len(sizes)
    place = latent * BINS + counted.bin
    at = np.searchsorted(place[of_all], place[~of_all])
    taken, hits = reached[of_all][at], reached[~of_all]
    pair, bins, count, number = (
        part[~of_all] for part in (counted.pair, counted.bin, counted.n, number)
    )
    positives = sizes[number]
    distinct, first = np.unique(pair, return_index=True)
    if not len(first):
        none = np.zeros(0)
        return Scores(distinct, none, none, np.zeros(0, np.int64))
    rest = (positives - hits)[first] / sizes[0]
    ap = np.add.reduceat(count / positives * hits / taken, first) + rest
    iou = hits / (taken + positives - hits)
    best = np.lexsort((-bins, -iou, pair))[first]
    return Scores(distinct, ap, iou[best], bins[best])


def _at_or_above(counted: Counted) -> np.ndarray:
    """For each entry, how many vectors of its pair are in its bin or above: (m,) int64."""
    total = np.cumsum(counted.n)
    last = np.searchsorted(counted.pair, counted.pair, side="right") - 1
    found: np.ndarray = total[last] - total + counted.n
    return found


def iou_at(counted: Counted, sizes: np.ndarray, pair: int, threshold: int) -> float:
    """IoU of one pair, with a threshold that was chosen on other vectors."""
    number = pair % len(sizes)
    all_of, hits = (_reached(counted, one, threshold) for one in (pair - number, pair))
    union = all_of + int(sizes[number]) - hits
    return hits / union if union else 0.0


def _reached(counted: Counted, pair: int, threshold: int) -> int:
    low, high = np.searchsorted(counted.pair, [pair, pair + 1])
    start = low + np.searchsorted(counted.bin[low:high], threshold)
    return int(counted.n[start:high].sum())
