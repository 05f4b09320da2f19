"""Values that a dictionary starts with: the input's normalisation, and the decoder's bias."""

import numpy as np
import torch

from saev.errors import UserError
from saev.sae import Sae
from saev.sae.archetypal import Archetypal
from saev.training.data import Vectors, sample

SAMPLE = 262_144
"""Training vectors at most from which the normalisation is computed."""
CHUNK = 4096
CONSTANT = 1e-6
"""A standard deviation below this share of the mean is rounding of a constant dimension."""


def initialise(sae: Sae, vectors: Vectors, normalisation: str, seed: int, init_rows: int) -> None:
    """Set ``norm_mean`` and ``norm_scale``, and ``b_dec`` to the mean of ``init_rows`` vectors.

    Args:
        sae: the dictionary, changed in place.
        vectors: the training vectors.
        normalisation: ``none``, ``centred``, ``unit_norm`` or ``per_dimension``.
        seed: draws the vectors looked at.
        init_rows: vectors for the decoder's bias, drawn by ``default_rng(seed)``.

    Raises:
        UserError: an activation is NaN or infinite.
    """
    if normalisation != "none":
        mean, scale = normalisation_of(vectors, normalisation, [seed, 0, 1])
        sae.norm_mean.copy_(torch.from_numpy(mean))
        sae.norm_scale.copy_(torch.from_numpy(scale))
    chosen = sample(vectors.n, init_rows, [seed])
    raw = torch.from_numpy(_mean(vectors, chosen).astype(np.float32))
    with torch.no_grad():
        sae.b_dec.copy_(sae.normalise(raw[None])[0])
        if isinstance(sae, Archetypal):
            drawn = vectors.gather(sample(vectors.n, sae.n_points, [seed, 0, 3]))
            points = sae.normalise(torch.from_numpy(drawn)) - sae.b_dec
            sae.start_at(points[torch.arange(sae.n_points) % len(points)])


def normalisation_of(
    vectors: Vectors, normalisation: str, key: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean to subtract and scale to divide by, (d,) float64 each, from a sample of the vectors."""
    chosen = sample(vectors.n, SAMPLE, key)
    mean, zero, one = _mean(vectors, chosen), np.zeros(vectors.d), np.ones(vectors.d)
    if normalisation == "centred":
        return mean, one
    if normalisation == "unit_norm":
        norms = sum(float(np.sqrt(np.square(x).sum(1)).sum()) for x in _chunks(vectors, chosen))
        return zero, one * (norms / len(chosen) or 1.0)
    assert normalisation == "per_dimension", normalisation
    squares = sum((np.square(x - mean).sum(0) for x in _chunks(vectors, chosen)), zero)
    std = np.sqrt(squares / len(chosen))
    constant = std <= np.maximum(CONSTANT * np.abs(mean), np.finfo(np.float32).tiny)
    return mean, np.where(constant, 1.0, std)


def _mean(vectors: Vectors, chosen: np.ndarray) -> np.ndarray:
    total = sum((x.sum(0) for x in _chunks(vectors, chosen)), np.zeros(vectors.d))
    if not np.isfinite(total).all():
        raise UserError(
            "the activations hold NaN or infinite values: float16 ends at 65,504, so record them with "
            "dtype: float32 or bfloat16, or choose another layer"
        )
    return total / len(chosen)


def _chunks(vectors: Vectors, chosen: np.ndarray):
    for start in range(0, len(chosen), CHUNK):
        yield vectors.gather(chosen[start : start + CHUNK]).astype(np.float64)
