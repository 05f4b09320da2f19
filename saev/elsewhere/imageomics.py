"""Imageomics' saev: one file, a line of JSON and then a state dict.

Files without a `schema` are those of its version 0.1.0, which subtracts `b_dec` before the encoder.
The code that writes schema 2 doesn't. It keeps the `top_k` largest of a vector even if they are
negative, with `BatchTopK` as with `TopK`.
"""

from pathlib import Path
from typing import Any

import numpy as np

from saev.elsewhere.common_form import (
    Arrays,
    Described,
    Hints,
    Plain,
    above,
    number,
    tensor,
    unknown,
    unsubtracted,
)
from saev.elsewhere.headers import TORCH, begins, mapping

LONGEST_LINE = 1 << 20


def recognised(path: Path) -> bool:
    """Whether a file is a line with a mapping in JSON, and then what PyTorch writes."""
    if not begins(path, (b"{",)):
        return False
    with path.open("rb") as file:
        start = len(file.readline(LONGEST_LINE))
    return begins(path, TORCH, start)


def header(path: Path) -> tuple[dict[str, Any], int]:
    """The first line of a file, and where the state dict begins."""
    with path.open("rb") as file:
        line = file.readline(LONGEST_LINE)
    return mapping(line, path), len(line)


def describe(path: Path, hints: Hints) -> Described:
    """What the first line says."""
    given, start = header(path)
    schema = given.get("schema")
    config: dict[str, Any] = given if schema is None else _mapping(given.get("cfg"))
    if schema == 1:
        why = "code that subtracts b_dec has written it, and code that doesn't reads it"
        raise unknown(path, "schema", schema, "none, 2", f"{why}; save it again with newer code")
    if schema not in (None, 2):
        raise unknown(path, "schema", schema, "none, 2")
    d = number(config, "d_vit", path)
    n = d * number(config, "exp_factor", path)
    kind, k = "Relu", None
    if schema == 2:
        chosen = _mapping(config.get("activation"))
        kind = str(chosen.get("cls"))
        if kind not in ("Relu", "TopK", "BatchTopK"):
            raise unknown(path, "activation", kind, "Relu, TopK, BatchTopK")
        if kind != "Relu":
            k = number(_mapping(chosen.get("params")), "top_k", path)
            k = min(k, n) if kind == "BatchTopK" else k
    where = {"start": start, "subtracts": schema is None}
    return Described(kind, (path,), d, n, k, signed=k is not None, config=where)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def convert(described: Described, arrays: Arrays) -> Plain:
    """Fold the bias if it isn't subtracted."""
    path, d, n = described.weights, described.d, described.n_latents
    W_enc, b_enc = tensor(arrays, "W_enc", (d, n), path), tensor(arrays, "b_enc", (n,), path)
    W_dec, b_dec = tensor(arrays, "W_dec", (n, d), path), tensor(arrays, "b_dec", (d,), path)
    if not described.config["subtracts"]:
        b_enc = unsubtracted(W_enc, b_enc, b_dec)
    kept = above(np.zeros(()), len(b_enc)) if described.k is None else None
    return Plain(W_enc, b_enc, W_dec, b_dec, kept)
