"""overcomplete: a state dict. The library has no format of its own.

Its dictionaries have no decoder bias. The state dict doesn't say how latents are chosen, so the
settings must. The encoder is a linear layer, or `tied()` or `untied()`. `BatchTopKSAE` keeps its
threshold outside of the state dict, so it can't be read.
"""

from pathlib import Path

import numpy as np

from saev.core.errors import UserError
from saev.elsewhere.common_form import (
    Arrays,
    Described,
    Hints,
    Plain,
    above,
    at_least,
    tensor,
    unknown,
)

UNIT = 1e-4
"""How far the norm of a decoder row may be from 1."""
AFTER_EVAL = "call .eval() before you save the state dict"
LINEAR = "encoder.final_block.0."


def describe(path: Path, hints: Hints) -> Described:
    """What the settings say."""
    if hints.selects is None:
        raise UserError(
            f"{path}: a state dict of overcomplete doesn't say how it chooses latents: add "
            f"selects: relu, selects: jumprelu, or selects: topk and k"
        )
    return Described(hints.selects, (path,), k=hints.k)


def convert(described: Described, arrays: Arrays) -> Plain:
    """Fuse the dictionary, and take the linear encoder."""
    path, kind = described.weights, described.trained_as
    if not any(name.startswith("dictionary.") for name in arrays):
        known = ", ".join(sorted(arrays)[:8])
        raise UserError(f"{path} isn't a state dict of overcomplete; it holds: {known}")
    if ("thresholds" in arrays) != (kind == "jumprelu"):
        there = "thresholds" if "thresholds" in arrays else "no thresholds"
        raise unknown(path, "selects", kind, "jumprelu with thresholds", f"it has {there}")
    W_dec = _dictionary(path, arrays)
    n, d = W_dec.shape
    W_enc, b_enc = _encoder(path, arrays, W_dec)
    if kind == "topk":
        kept = None
    elif kind == "relu":
        kept = above(np.zeros(()), n)
    else:
        exponents = tensor(arrays, "thresholds", (n,), path)
        kept = np.maximum(at_least(np.exp(exponents.astype(np.float32))), 0)
    return Plain(W_enc, b_enc, W_dec, np.zeros(d), kept)


def _dictionary(path: Path, arrays: Arrays) -> np.ndarray:
    """The decoder (n, d), as `.eval()` fuses it."""
    factor = np.exp(tensor(arrays, "dictionary.multiplier", (), path))
    if "dictionary.C" in arrays:
        points = tensor(arrays, "dictionary.C", (None, None), path)
        mixture = tensor(arrays, "dictionary.W", (None, len(points)), path)
        if mixture.min() < 0 or not np.allclose(mixture.sum(axis=1), 1, atol=UNIT):
            raise UserError(f"{path}: rows of dictionary.W aren't mixtures yet: {AFTER_EVAL}")
        offset = tensor(arrays, "dictionary.Relax", (len(mixture), points.shape[1]), path)
        fused: np.ndarray = (mixture @ points + offset) * factor
        return fused
    rows = tensor(arrays, "dictionary._weights", (None, None), path)
    norms = np.linalg.norm(rows, axis=1)
    if not np.allclose(norms, 1, atol=UNIT):
        raise UserError(
            f"{path}: rows of the dictionary have norms from {norms.min():.3g} to "
            f"{norms.max():.3g}, and the state dict doesn't say how they are normalised; "
            f"supported: norm 1: {AFTER_EVAL}"
        )
    return rows * factor


def _encoder(path: Path, arrays: Arrays, W_dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Encoder (d, n) and bias (n,)."""
    n, d = W_dec.shape
    for name in arrays:
        known = (f"{LINEAR}weight", f"{LINEAR}bias", "encoder.weight", "encoder.bias")
        if name.startswith("encoder.") and name not in known and ".tied_to." not in name:
            raise unknown(path, "encoder", name, "a linear one", "it has more than one layer")
    if f"{LINEAR}weight" in arrays:
        weight = tensor(arrays, f"{LINEAR}weight", (n, d), path)
        return weight.T, tensor(arrays, f"{LINEAR}bias", (n,), path)
    tied = "encoder.weight" not in arrays
    weight = W_dec if tied else tensor(arrays, "encoder.weight", (n, d), path)
    bias = tensor(arrays, "encoder.bias", (n,), path) if "encoder.bias" in arrays else np.zeros(n)
    return weight.T, bias
