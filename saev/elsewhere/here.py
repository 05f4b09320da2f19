"""This project's own checkpoints: a file, or the folder of a training."""

import json
from pathlib import Path

import numpy as np

from saev.core.errors import UserError
from saev.elsewhere.common_form import (
    Arrays,
    Described,
    Hints,
    Plain,
    above,
    number,
    tensor,
    unknown,
)
from saev.elsewhere.headers import require_shapes, safetensors_header

CHECKPOINT = "checkpoint"
"""What the file's name begins with, in the folder of a training."""
KEY = "saev"
BY_RANK = ("topk", "archetypal")
BY_THRESHOLD = ("relu", "jumprelu", "batchtopk")


def recognised(path: Path) -> bool:
    """Whether a file is a safetensors file with this project's metadata."""
    try:
        return KEY in safetensors_header(path).get("__metadata__", {})
    except (UserError, TypeError):
        return False


def describe(path: Path, hints: Hints) -> Described:
    """What the metadata says."""
    try:
        given = json.loads(safetensors_header(path)["__metadata__"][KEY])
        settings, kind = dict(given["settings"]), given["architecture"]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: its metadata can't be read ({error!r})") from error
    d, n = number(given, "d", path), number(given, "n_latents", path)
    by_rank = kind in BY_RANK or (kind == "matryoshka" and settings.get("over") == "topk")
    by_rank = by_rank or (kind == "converted" and settings.get("k") is not None)
    if not by_rank and kind not in (*BY_THRESHOLD, "matryoshka", "converted"):
        raise unknown(path, "architecture", kind, ", ".join((*BY_RANK, *BY_THRESHOLD)))
    k = number(settings, "k", path) if by_rank else None
    require_shapes(path, {"W_enc": (d, n), "W_dec": (n, d), "b_enc": (n,), "b_dec": (d,)})
    return Described(kind, (path,), d, n, k, config={"stream": given.get("stream")})


def convert(described: Described, arrays: Arrays) -> Plain:
    """Take the weights as they are, and the thresholds that an evaluation uses."""
    path, d, n = described.weights, described.d, described.n_latents
    if described.k is not None:
        kept = None
    elif described.trained_as == "relu":
        kept = above(np.zeros(()), n or 0)
    elif described.trained_as == "jumprelu":
        log = tensor(arrays, "log_threshold", (n,), path).astype(np.float32)
        kept = above(np.exp(log), len(log))
    else:
        of_each = described.trained_as == "converted"
        kept = above(tensor(arrays, "threshold", (n,) if of_each else (), path), n or 0)
    return Plain(
        tensor(arrays, "W_enc", (d, n), path),
        tensor(arrays, "b_enc", (n,), path),
        tensor(arrays, "W_dec", (n, d), path),
        tensor(arrays, "b_dec", (d,), path),
        kept,
        tensor(arrays, "norm_mean", (d,), path),
        tensor(arrays, "norm_scale", (d,), path),
    )
