"""Area under the curve of true and false positives, also of resampled images."""

import numpy as np


def auroc(score: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Probability that a positive has the larger score than a negative; a tie counts one half.

    The Mann–Whitney form (Hanley and McNeil 1982, The meaning and use of the area under a receiver
    operating characteristic curve).

    Args:
        score: (b,) float64; positive: (b,) bool.
        weights: (r, b), how often each example counts, in each of r resamples.

    Returns:
        (r,) float64; NaN for a resample without a positive or without a negative.
    """
    order = np.argsort(score, kind="stable")
    ordered = score[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    pulled = weights[:, order]
    up = np.add.reduceat(pulled * positive[order], starts, axis=1).astype(np.float64)
    down = np.add.reduceat(pulled * ~positive[order], starts, axis=1).astype(np.float64)
    below = np.cumsum(down, axis=1) - down
    n_pairs = up.sum(1) * down.sum(1)
    won = (up * (below + down / 2)).sum(1)
    return np.divide(won, n_pairs, out=np.full(len(weights), np.nan), where=n_pairs > 0)


def resampled(n: int, resamples: int, seed: int) -> np.ndarray:
    """How often each of ``n`` images is drawn, in all images (first row) and in each resample.

    Returns:
        (1 + resamples, n) int64.
    """
    rng = np.random.default_rng([seed, n])
    drawn = rng.multinomial(n, np.full(n, 1 / n), resamples)
    return np.concatenate([np.ones((1, n), np.int64), drawn])
