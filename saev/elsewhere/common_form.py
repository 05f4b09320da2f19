"""What every dictionary from elsewhere is brought to: two products and a choice of latents."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from saev.core.errors import UserError

Arrays = Mapping[str, np.ndarray]
"""Tensors by name, float64."""


class Plain(NamedTuple):
    """``z = σ((u − b_dec) W_enc + b_enc)`` and ``x̂ = (z W_dec + b_dec) · scale + mean``, with
    ``u = (x − mean) / scale``. Arrays are float64."""

    W_enc: np.ndarray
    """(d, n)"""
    b_enc: np.ndarray
    """(n,)"""
    W_dec: np.ndarray
    """(n, d)"""
    b_dec: np.ndarray
    """(d,)"""
    threshold: np.ndarray | None = None
    """(n,) float32: σ keeps what exceeds it, and what is positive. None: the k largest positive."""
    mean: np.ndarray | None = None
    """(d,); None for 0."""
    scale: np.ndarray | None = None
    """(d,); None for 1."""


class Described(NamedTuple):
    """What the headers and the configuration of a dictionary say, before its weights are read."""

    trained_as: str
    """Its architecture, in the words of the format."""
    files: tuple[Path, ...]
    """The files that it is read from, the weights last."""
    d: int | None = None
    """Width of the activations; None if only the weights tell."""
    n_latents: int | None = None
    k: int | None = None
    """How many latents σ keeps; None if thresholds choose them."""
    signed: bool = False
    """Whether the k largest stay if they are negative. Ours don't, so there must always be k
    positive ones."""
    config: Mapping[str, Any] = {}
    """What else the conversion needs."""

    @property
    def weights(self) -> Path:
        """The file of the weights."""
        return self.files[-1]


PER_VECTOR = {
    "layer_norm": "it divides each vector by its own standard deviation",
    "constant_norm_rescale": "it divides each vector by its own norm",
}
"""Why vectors that a library normalises one by one can't be converted, by its name for that."""


class Hints(NamedTuple):
    """What the settings say where a file doesn't."""

    selects: str | None = None
    k: int | None = None


def unsubtracted(W_enc: np.ndarray, b_enc: np.ndarray, b_dec: np.ndarray) -> np.ndarray:
    """The bias (n,) that undoes the subtraction of ``b_dec``: ``x W + b = (x − b_dec) W + b'``."""
    return b_enc + b_dec @ W_enc


def gated(
    W_enc: np.ndarray, gate: np.ndarray, r: np.ndarray, magnitude: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A gated encoder as one with thresholds (Rajamanoharan et al. 2024, arXiv 2404.16014, 3.3).

    ``[e + g > 0] · relu(a e + m)`` with ``a = exp(r) > 0`` is ``a e + m`` where it exceeds
    ``max(0, m − a g)``.

    Args:
        W_enc: (d, n); gate: (n,) g; r: (n,); magnitude: (n,) m.

    Returns:
        encoder (d, n), bias (n,), threshold (n,).
    """
    a = np.exp(r)
    return W_enc * a, magnitude, magnitude - a * gate


def at_least(threshold: np.ndarray) -> np.ndarray:
    """The threshold to exceed, where one is to be reached: the float32 just below it."""
    return np.nextafter(threshold.astype(np.float32), np.float32(-np.inf))


def above(threshold: np.ndarray | float, n: int) -> np.ndarray:
    """A threshold, () or (n,), as (n,) float32. After a ReLU, nothing below 0 is left."""
    return np.broadcast_to(np.maximum(np.asarray(threshold, np.float32), 0), (n,))


def number(config: Mapping[str, Any], key: str, path: Path) -> int:
    """A positive whole number in a configuration.

    Raises:
        UserError: it is missing, or something else.
    """
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{path}: {key}: {value!r}: must be a whole number above 0")
    return value


def tensor(arrays: Arrays, name: str, shape: tuple[int | None, ...], path: Path) -> np.ndarray:
    """The tensor ``name``; None in ``shape`` stands for any size.

    Raises:
        UserError: there is no such tensor, it has another shape, or it isn't finite.
    """
    found = arrays.get(name)
    if found is None:
        raise UserError(f"{path} has no tensor {name!r}; it holds: {', '.join(sorted(arrays))}")
    fits = len(found.shape) == len(shape) and all(
        want in (None, size) for size, want in zip(found.shape, shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise UserError(f"{path}: {name} has the shape {found.shape}, not ({wanted})")
    if not np.isfinite(found).all():
        raise UserError(f"{path}: {name} has NaN or infinite values: it can't be used")
    return found


def unknown(path: Path, key: str, value: Any, supported: str, why: str = "") -> UserError:
    """The error for what can't be represented exactly."""
    reason = f": {why}" if why else ""
    return UserError(f"{path}: {key}: {value!r} can't be converted{reason}; supported: {supported}")
