"""SAELens: `cfg.json` and `sae_weights.safetensors`, as its versions 3 to 6 write them.

``pre = (x − b_dec · apply_b_dec_to_input) W_enc + b_enc``, ``x̂ = z W_dec + b_dec``. With
`rescale_acts_by_decoder_norm`, pre-activations are multiplied by the norms of decoder rows, and
divided by them before the decoder.
"""

from pathlib import Path
from typing import Any

import numpy as np

from saev.elsewhere.common_form import (
    PER_VECTOR,
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
from saev.elsewhere.headers import configuration, require_shapes

FILES = ("cfg.json", "sae_weights.safetensors")
SUPPORTED = "standard, topk, jumprelu, gated"
TRAINING = ("batchtopk", "matryoshka_batchtopk")
"""Architectures that SAELens saves as jumprelu once they are trained."""
FOLD = "fold_activation_norm_scaling_factor(factor)"
NORMALISATIONS = {
    "expected_average_only_in": "its weights expect vectors times a factor that the file doesn't "
    f"hold: call {FOLD} in SAELens and save it again",
    "covariance_whitening": "its weights expect whitened vectors, but the file doesn't hold the "
    "whitening: call fold_activation_whitening in SAELens and save it again",
    **PER_VECTOR,
}


def describe(path: Path, hints: Hints) -> Described:
    """What `cfg.json` and the header say. ``path`` is the folder."""
    files = tuple(path / name for name in FILES)
    given, where = configuration(files[0]), files[0]
    d, n = number(given, "d_in", where), number(given, "d_sae", where)
    architecture = str(given.get("architecture", "standard"))
    # Before version 6, the activation function stood beside the architecture.
    function = given.get("activation_fn", given.get("activation_fn_str", "relu"))
    k = number(given, "k", where) if architecture == "topk" and "k" in given else None
    if function == "topk":
        kept = given.get("activation_fn_kwargs")
        architecture, k = "topk", number(kept if isinstance(kept, dict) else {}, "k", where)
    elif function != "relu":
        raise unknown(where, "activation_fn", function, "relu, topk")
    if architecture in TRAINING:
        why = "it is the state of a training; save it with save_inference_model"
        raise unknown(where, "architecture", architecture, SUPPORTED, why)
    if architecture not in SUPPORTED.split(", "):
        raise unknown(where, "architecture", architecture, SUPPORTED)
    if architecture == "topk" and k is None:
        k = number(given, "k", where)
    _require_plain_input(given, where)
    names = {"standard": ("b_enc",), "topk": ("b_enc",), "jumprelu": ("b_enc", "threshold")}
    biases = names.get(architecture, ("b_gate", "r_mag", "b_mag"))
    wanted = {"W_enc": (d, n), "W_dec": (n, d), "b_dec": (d,), **dict.fromkeys(biases, (n,))}
    require_shapes(files[1], wanted)
    return Described(architecture, files, d, n, k, config=given)


def _require_plain_input(given: dict[str, Any], where: Path) -> None:
    how = given.get("normalize_activations") or "none"
    how = "expected_average_only_in" if how is True else str(how)
    if how != "none":
        raise unknown(where, "normalize_activations", how, "none", NORMALISATIONS.get(how, ""))
    if given.get("reshape_activations", "none") != "none" or "hook_z" in str(
        given.get("hook_name")
    ):
        raise unknown(where, "reshape_activations", "hook_z", "none", "it joins attention heads")


def convert(described: Described, arrays: Arrays) -> Plain:
    """Fold everything into two products."""
    path, config = described.weights, described.config
    d, n = described.d, described.n_latents
    W_enc, W_dec = tensor(arrays, "W_enc", (d, n), path), tensor(arrays, "W_dec", (n, d), path)
    b_dec, threshold = tensor(arrays, "b_dec", (d,), path), None
    scaling = arrays.get("scaling_factor", np.ones(1))
    if not np.allclose(scaling, 1):
        raise unknown(path, "scaling_factor", "other than 1", "1", "it was fine-tuned apart")
    if described.trained_as == "gated":
        gate, r, magnitude = (tensor(arrays, b, (n,), path) for b in ("b_gate", "r_mag", "b_mag"))
        W_enc, b_enc, threshold = gated(W_enc, gate, r, magnitude)
    else:
        b_enc = tensor(arrays, "b_enc", (n,), path)
    if described.trained_as == "jumprelu":
        threshold = tensor(arrays, "threshold", (n,), path)
    elif described.trained_as == "standard":
        threshold = np.zeros(())
    if described.trained_as == "topk" and config.get("rescale_acts_by_decoder_norm"):
        norms = np.linalg.norm(W_dec, axis=1)
        W_enc, b_enc = W_enc * norms, b_enc * norms
        W_dec = W_dec / np.maximum(norms, np.finfo(np.float32).tiny)[:, None]
    if not config.get("apply_b_dec_to_input", True):
        b_enc = unsubtracted(W_enc, b_enc, b_dec)
    kept = None if threshold is None else above(threshold, len(b_enc))
    return Plain(W_enc, b_enc, W_dec, b_dec, kept)
