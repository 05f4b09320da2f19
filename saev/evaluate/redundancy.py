"""Redundancy: how near the decoder row of a latent is to that of another.

For latent j with unit decoder row w_j::

    redundancy_j = max over k ≠ j of ⟨w_j, w_k⟩

Two latents that write nearly the same direction share one meaning: the dictionary is wider than it
needs to be, or has split a latent (Bricken et al. 2023, Towards Monosemanticity, "Feature
splitting"). Chance is what as many random directions of the same width give.
"""

import numpy as np
from torch import Tensor

from saev.analyze.neighbours import nearest, random_rows
from saev.evaluate.results import Figure, Results, mean_of

RANDOM = "random_directions"
NEAR = 0.9
"""From this cosine on, two rows count as the same direction (26°)."""


def redundancy(decoder: Tensor) -> np.ndarray:
    """The largest cosine of each decoder row to another row: (n,) float64; NaN for a single row.

    Args:
        decoder: (n, d) float32.
    """
    if len(decoder) < 2:
        return np.full(len(decoder), np.nan)
    return nearest(decoder, decoder, 1, other=False).cosine[:, 0].astype(np.float64)


def measure(decoder: Tensor, live: np.ndarray, seed: int) -> Results:
    """The figures and the column.

    Args:
        decoder: (n, d) float32; live: (n,) bool, latents that fire. A dead one still has the row
            that it started with, so the figures leave it out.
        seed: of the interval and the random directions.
    """
    n, d = decoder.shape
    found = redundancy(decoder)
    chance = redundancy(random_rows(n, d, seed).to(decoder.device))
    figures = [
        Figure(
            "redundancy",
            name,
            mean_of(of(found[live]), seed),
            int(live.sum()),
            "latents",
            {RANDOM: mean_of(of(chance), seed)},
            why="there is no other latent" if n < 2 else "no latent fires",
        )
        for name, of in (
            ("mean", lambda values: values),
            ("share_90", lambda values: np.where(np.isnan(values), np.nan, values >= NEAR)),
        )
    ]
    return Results(figures, {"redundancy": found})
