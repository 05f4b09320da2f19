"""Where in the image a latent fires: on which patches, and whether that is all it says."""

import numpy as np

from saev.analyze.artifact import PURITY_IMAGES
from saev.analyze.cells import Cells
from saev.analyze.figures import MIN_SUPPORT, chance_of

FEW_PLACES = 0.6
"""Below this position entropy, a latent is positional. On a grid of 14 × 14, that is what a latent
has that fires equally often on 24 of the 196 patches."""
MOSTLY_BORDER, BORDER_CHANCE = 0.9, 0.01
"""A latent is positional too if its top images have such a share of strongest patches on the
border, and chance hardly ever gives as many."""


def position_entropy(counts: np.ndarray, cells: Cells) -> np.ndarray:
    """How evenly a latent fires over the image: ``1 − KL(p, q) / max KL``.

    p is the share of each cell in the vectors on which the latent fires, q its share of all
    patches. 1 means everywhere equally often; 0 means always in one of the smallest cells. With
    cells of equal size, this is the entropy of p divided by that of q.

    Args:
        counts: (n, cells) int64.

    Returns:
        (n,) float64, NaN if there is a single cell, and where a latent fires on fewer vectors than
        `MIN_SUPPORT`, or than there are cells: few vectors can't be everywhere.
    """
    total = counts.sum(1)
    q = np.bincount(cells.cell_of, minlength=cells.n) / max(1, len(cells.cell_of))
    out = np.full(len(counts), np.nan)
    if cells.n < 2:
        return out
    known = total >= max(MIN_SUPPORT, cells.n)
    for j in np.flatnonzero(known).tolist():
        p = counts[j] / total[j]
        here = p > 0
        out[j] = 1 - (p[here] * np.log(p[here] / q[here])).sum() / np.log(1 / q.min())
    return np.clip(out, 0, 1)


def border_share(rows: np.ndarray, patches: np.ndarray, cells: Cells) -> np.ndarray:
    """Share of a latent's top images whose strongest patch lies at the border of the image.

    Args:
        rows: (n, k) int64, -1 where absent; patches: (n, k) int32.

    Returns:
        (n,) float64; NaN where a latent has no top image.
    """
    present = rows >= 0
    at_border = present & cells.border[np.where(present, patches, 0)]
    n_valid = present.sum(1)
    return np.divide(at_border.sum(1), n_valid, out=np.full(len(rows), np.nan), where=n_valid > 0)


def position_columns(
    counts: np.ndarray, rows: np.ndarray, patches: np.ndarray, cells: Cells
) -> dict[str, np.ndarray]:
    """Columns of `latents.parquet` about where latents fire.

    Args:
        counts: (n, cells) int64, vectors on which each latent fires in each cell.
        rows, patches: (n, k) of the top images.

    Returns:
        ``position_entropy`` and ``border_share`` (n,) float64 with NaN for null, and
        ``positional`` (n,) bool. Without patches, nothing is known and no latent is positional.
    """
    if not cells.n:
        unknown = np.full(len(rows), np.nan)
        none = np.zeros(len(rows), bool)
        return {"position_entropy": unknown, "border_share": unknown, "positional": none}
    rows, patches = rows[:, :PURITY_IMAGES], patches[:, :PURITY_IMAGES]
    entropy, share = position_entropy(counts, cells), border_share(rows, patches, cells)
    known = ~np.isnan(share)
    border = np.zeros(len(rows), bool)
    n_valid = (rows >= 0).sum(1)[known]
    expected = np.full(int(known.sum()), cells.border.mean())
    chance = chance_of(share[known], n_valid, expected, 1)
    border[known] = (share[known] >= MOSTLY_BORDER) & (chance < BORDER_CHANCE)
    return {
        "position_entropy": entropy,
        "border_share": share,
        "positional": border | (entropy < FEW_PLACES),
    }
