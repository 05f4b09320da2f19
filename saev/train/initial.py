"""Initial values of a dictionary: normalisation of the input, bias of the decoder, and its own."""

from collections.abc import Iterator

import numpy as np
import torch

from saev.core.errors import UserError
from saev.sae import Sae
from saev.train.loader import Vectors, sample

SAMPLE = 262_144
"""Largest number of training vectors that the normalisation is computed from."""
CHUNK = 4096
CONSTANT = 1e-6
"""If the standard deviation is below this share of the mean, the dimension is constant and the
deviation is only rounding."""
MEDIAN_TOLERANCE, MEDIAN_ITERATIONS = 1e-6, 100
"""Weiszfeld's iterations stop at a step below this share of the first mean distance, or after this
many steps."""


def initialise(sae: Sae, vectors: Vectors) -> None:
    """Set ``norm_mean``, ``norm_scale`` and ``b_dec``, then call `Sae.start`.

    ``b_dec`` is the mean or the geometric median of ``init_rows`` vectors, which are drawn by
    ``default_rng(seed)``.

    Args:
        sae: the dictionary, changed in place.
        vectors: the training vectors.

    Raises:
        UserError: an activation is NaN or infinite.
    """
    settings, seed = sae.settings, sae.settings.seed

    def draw(at_most: int, purpose: int) -> torch.Tensor:
        chosen = sample(vectors.n, at_most, [settings.weights_seed, 0, purpose])
        return torch.from_numpy(vectors.gather(chosen))

    if settings.normalisation != "none":
        mean, scale = normalisation_of(vectors, settings.normalisation, [seed, 0, 1])
        sae.norm_mean.copy_(torch.from_numpy(mean))
        sae.norm_scale.copy_(torch.from_numpy(scale))
    chosen = sample(vectors.n, settings.init_rows, [seed])
    with torch.no_grad():
        if settings.b_dec_init == "geometric_median":
            sae.b_dec.copy_(torch.from_numpy(geometric_median(sae, vectors, chosen)))
        else:
            raw = torch.from_numpy(_mean(vectors, chosen).astype(np.float32))
            sae.b_dec.copy_(sae.normalise(raw[None])[0])
    sae.start(draw)


def geometric_median(sae: Sae, vectors: Vectors, chosen: np.ndarray) -> np.ndarray:
    """The geometric median: the point closest to all vectors in sum, (d,) float64, normalised.

    Weiszfeld's iterations (1937) start at the mean. Each new point is the mean of the vectors,
    weighted by one over their distance from the last point. If a point meets a vector, its distance
    is kept above 0 here (Vardi and Zhang 2000, doi 10.1073/pnas.97.4.1423, treat this case). Long
    vectors affect the median less than the mean.

    Args:
        sae: gives the normalisation.
        vectors, chosen: indices (m,) of the vectors to use.
    """
    mean = sae.norm_mean.double().cpu().numpy()
    scale = sae.norm_scale.double().cpu().numpy()
    point = (_mean(vectors, chosen) - mean) / scale
    spread = sum(
        float(_lengths((x - mean) / scale - point).sum()) for x in _chunks(vectors, chosen)
    )
    least = MEDIAN_TOLERANCE * spread / len(chosen)
    if not least:
        return point  # all vectors are equal
    for _ in range(MEDIAN_ITERATIONS):
        total, weights = np.zeros(vectors.d), 0.0
        for x in _chunks(vectors, chosen):
            u = (x - mean) / scale
            weight = 1 / np.maximum(_lengths(u - point), least)
            # No matrix product: its rounding would depend on BLAS and its threads.
            total += (weight[:, None] * u).sum(0)
            weights += float(weight.sum())
        before, point = point, total / weights
        if np.sqrt(np.square(point - before).sum()) <= least:
            break
    return point


def normalisation_of(
    vectors: Vectors, normalisation: str, key: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """The mean to subtract and the scale to divide by, (d,) float64 each, from a sample."""
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
            "the activations have NaN or infinite values. The largest float16 is 65,504: record "
            "them with dtype: float32 or bfloat16, or choose another layer"
        )
    return total / len(chosen)


def _lengths(rows: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(rows).sum(1))


def _chunks(vectors: Vectors, chosen: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(chosen), CHUNK):
        yield vectors.gather(chosen[start : start + CHUNK]).astype(np.float64)
