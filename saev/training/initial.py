"""Values that a dictionary starts with: the input's normalisation, the decoder's bias, and its rows."""

from collections.abc import Iterator

import numpy as np
import torch

from saev.errors import UserError
from saev.sae import Sae
from saev.sae.archetypal import Archetypal
from saev.sae.base import unit_rows
from saev.sae.jumprelu import JumpRelu
from saev.settings.sae import SaeSettings
from saev.training.data import Vectors, sample

SAMPLE = 262_144
"""Training vectors at most from which the normalisation is computed."""
CHUNK = 4096
THRESHOLD_ROWS = 1024
"""Training vectors at most from which thresholds start; all their latents are in memory at once."""
CONSTANT = 1e-6
"""A standard deviation below this share of the mean is rounding of a constant dimension."""
MEDIAN_TOLERANCE, MEDIAN_ITERATIONS = 1e-6, 100
"""Weiszfeld's iterations end at a step below this share of the first mean distance, or after so many."""


def initialise(sae: Sae, vectors: Vectors, settings: SaeSettings) -> None:
    """Set ``norm_mean`` and ``norm_scale``, ``b_dec``, and the directions if they come from the data.

    ``b_dec`` is the mean or the geometric median of ``init_rows`` vectors drawn by ``default_rng(seed)``.

    Args:
        sae: the dictionary, changed in place.
        vectors: the training vectors.
        settings: ``normalisation``, ``init_rows``, ``b_dec_init``, ``init``, ``seed``.

    Raises:
        UserError: an activation is NaN or infinite.
    """
    seed = settings.seed
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
        if isinstance(sae, Archetypal):
            drawn = vectors.gather(sample(vectors.n, sae.n_points, [seed, 0, 3]))
            points = sae.normalise(torch.from_numpy(drawn)) - sae.b_dec
            sae.start_at(points[torch.arange(sae.n_points) % len(points)])
        elif settings.init == "data":
            directions_from(sae, vectors, [seed, 0, 3])
        if isinstance(sae, JumpRelu):
            drawn = vectors.gather(sample(vectors.n, THRESHOLD_ROWS, [seed, 0, 5]))
            sae.start_thresholds(torch.from_numpy(drawn))


def geometric_median(sae: Sae, vectors: Vectors, chosen: np.ndarray) -> np.ndarray:
    """The point with the least sum of distances to the vectors, in the normalised space: (d,) float64.

    Weiszfeld's iterations from the mean: each point is the mean of the vectors weighted by one over their
    distance (Weiszfeld 1937; Vardi and Zhang 2000, doi 10.1073/pnas.97.4.1423, for a point that meets a
    vector, whose distance is held off 0 here). Long vectors pull it less than they pull the mean.

    Args:
        sae: says the normalisation.
        vectors, chosen: (m,) the vectors looked at.
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
            # Not a product of matrices, whose rounding would depend on BLAS and its threads.
            total += (weight[:, None] * u).sum(0)
            weights += float(weight.sum())
        before, point = point, total / weights
        if np.sqrt(np.square(point - before).sum()) <= least:
            break
    return point


@torch.no_grad()
def directions_from(sae: Sae, vectors: Vectors, key: list[int]) -> None:
    """Point the latents at training vectors, seen from ``b_dec``; the encoder reads the same directions.

    Latents keep their random direction where a vector is ``b_dec`` itself, and where there are fewer
    vectors than latents.

    Args:
        sae: changed in place.
        vectors: the training vectors.
        key: draws distinct ones, by ``default_rng(key)``.
    """
    chosen = sample(vectors.n, sae.n_latents, key)
    for start in range(0, len(chosen), CHUNK):
        part = chosen[start : start + CHUNK]
        u = sae.normalise(torch.from_numpy(vectors.gather(part))) - sae.b_dec
        directions, here = unit_rows(u), slice(start, start + len(part))
        lost = (u == 0).all(dim=1, keepdim=True)
        sae.W_dec[here] = torch.where(lost, sae.W_dec[here], directions)
    sae.W_enc.copy_(sae.W_dec.T * sae.initial_encoder_scale())


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


def _lengths(rows: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(rows).sum(1))


def _chunks(vectors: Vectors, chosen: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(chosen), CHUNK):
        yield vectors.gather(chosen[start : start + CHUNK]).astype(np.float64)
