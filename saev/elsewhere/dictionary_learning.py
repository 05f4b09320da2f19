"""dictionary_learning: `config.json` and `ae.pt`, a state dict.

What is converted is the dictionary that its `load_dictionary` gives. That one scales the decoder of
an `AutoEncoder` to unit columns, and its encoder accordingly.
"""

from pathlib import Path

import numpy as np

from saev.elsewhere.common_form import (
    Arrays,
    Described,
    Hints,
    Plain,
    above,
    gated,
    number,
    tensor,
    unknown,
    unsubtracted,
)
from saev.elsewhere.headers import configuration

FILES = ("config.json", "ae.pt")
TOPK = "AutoEncoderTopK"
SUPPORTED = (
    *("AutoEncoder", "AutoEncoderNew", "GatedAutoEncoder", TOPK, "BatchTopKSAE"),
    *("MatryoshkaBatchTopKSAE", "JumpReluAutoEncoder"),
)


def describe(path: Path, hints: Hints) -> Described:
    """What `config.json` says. ``path`` is the folder."""
    files = tuple(path / name for name in FILES)
    given, where = configuration(files[0]).get("trainer"), files[0]
    if not isinstance(given, dict):
        raise unknown(where, "trainer", given, "the settings of a training")
    kind = str(given.get("dict_class"))
    if kind not in SUPPORTED:
        raise unknown(where, "trainer.dict_class", kind, ", ".join(SUPPORTED))
    d, n = number(given, "activation_dim", where), number(given, "dict_size", where)
    return Described(kind, files, d, n, number(given, "k", where) if kind == TOPK else None)


def convert(described: Described, arrays: Arrays) -> Plain:
    """Bring each class to the same form."""
    path, kind = described.weights, described.trained_as
    d, n = described.d, described.n_latents
    threshold: np.ndarray | None = np.zeros(())
    if kind in ("MatryoshkaBatchTopKSAE", "JumpReluAutoEncoder"):
        W_enc, W_dec = tensor(arrays, "W_enc", (d, n), path), tensor(arrays, "W_dec", (n, d), path)
        b_enc, b_dec = tensor(arrays, "b_enc", (n,), path), tensor(arrays, "b_dec", (d,), path)
    else:
        W_enc = tensor(arrays, "encoder.weight", (n, d), path).T
        W_dec = tensor(arrays, "decoder.weight", (d, n), path).T
        bias = {"AutoEncoder": "bias", "AutoEncoderNew": "decoder.bias"}
        bias["GatedAutoEncoder"] = "decoder_bias"
        b_dec = tensor(arrays, bias.get(kind, "b_dec"), (d,), path)
        if kind == "GatedAutoEncoder":
            names = ("gate_bias", "r_mag", "mag_bias")
            gate, r, magnitude = (tensor(arrays, name, (n,), path) for name in names)
            W_enc, b_enc, threshold = gated(W_enc, gate, r, magnitude)
        else:
            b_enc = tensor(arrays, "encoder.bias", (n,), path)
    if kind == "AutoEncoder":
        norms = np.linalg.norm(W_dec, axis=1)
        if not np.allclose(norms, 1):
            W_enc, b_enc, W_dec = W_enc * norms, b_enc * norms, W_dec / norms[:, None]
    if kind in ("AutoEncoderNew", "JumpReluAutoEncoder"):
        b_enc = unsubtracted(W_enc, b_enc, b_dec)
    if kind == "JumpReluAutoEncoder":
        threshold = tensor(arrays, "threshold", (n,), path)
    elif kind in ("BatchTopKSAE", "MatryoshkaBatchTopKSAE"):
        threshold = tensor(arrays, "threshold", (), path)
    elif kind == TOPK:
        if int(tensor(arrays, "k", (), path)) != described.k:
            raise unknown(path, "k", int(arrays["k"]), f"{described.k}, as {FILES[0]} says")
        threshold = None
    kept = None if threshold is None else above(threshold, len(b_enc))
    return Plain(W_enc, b_enc, W_dec, b_dec, kept)
