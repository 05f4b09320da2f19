"""γ: how far the recorded activations lie from the origin, compared with how much they vary.

For a stream with the mean μ and the standard deviation σ of each dimension::

    γ = ‖μ‖ / ‖σ‖

‖σ‖² is the mean squared distance of a vector from the mean. Above 1, most of a vector is the same
in all images: a dictionary that isn't centred spends latents on it, and many start dead.
"""

import numpy as np

from saev.evaluate.results import Figure, Measured

LARGE = 1.0
"""From here on, the mean is longer than what varies around it."""


def gamma(mean: np.ndarray, std: np.ndarray) -> float | None:
    """γ of a stream; None if nothing varies.

    Args:
        mean, std: (d,) float64, as recorded.
    """
    varies = float(np.sqrt(np.square(std).sum()))
    return float(np.sqrt(np.square(mean).sum())) / varies if varies else None


def measure(
    mean: np.ndarray, std: np.ndarray, norm_mean: np.ndarray, norm_scale: np.ndarray
) -> Figure:
    """The figure of the recorded stream, beside that of what the dictionary takes.

    Args:
        mean, std: (d,) float64, as recorded; norm_mean, norm_scale: (d,), the dictionary's.
    """
    raw, inside = gamma(mean, std), gamma((mean - norm_mean) / norm_scale, std / norm_scale)
    note = ""
    if raw is not None and inside is not None and inside >= LARGE:
        note = "the mean is longer than what varies: set normalisation to centred or per_dimension"
    return Figure(
        "gamma",
        "recorded",
        Measured(raw),
        len(mean),
        "dimensions",
        {"after_normalisation": Measured(inside)},
        note=note,
        why="all vectors are equal",
    )
