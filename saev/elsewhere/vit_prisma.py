"""ViT-Prisma: `config.json`, and beside it a PyTorch file of any name.

Its trainings save `n_images_….pt`, the settings and a state dict; on the hub it has `weights.pt`, a
state dict alone. The settings in such a file are an object of a class of that library. Nothing is
read of it, as `config.json` says the same.
"""

from pathlib import Path

import numpy as np

from saev.core.errors import UserError
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
)
from saev.elsewhere.headers import TORCH, begins, configuration

CONFIG, WEIGHTS = "config.json", "weights.pt"
OBJECTS = (
    "vit_prisma.sae.config.VisionModelSAERunnerConfig",
    "vit_prisma.configs.HookedViTConfig.HookedViTConfig",
)
"""The classes of the settings in its files."""
RECORDED = "hook_resid_post"
"""What it calls the output of a block."""


def recognised(path: Path) -> bool:
    """Whether a file is one of PyTorch beside a configuration of ViT-Prisma."""
    config = path.with_name(CONFIG)
    if not begins(path, TORCH) or not config.is_file():
        return False
    try:
        return "hook_point_layer" in configuration(config)
    except UserError:
        return False


def describe(path: Path, hints: Hints) -> Described:
    """What `config.json` says. ``path`` is the file of the weights."""
    where = path.with_name(CONFIG)
    given = configuration(where)
    kind = "transcoder" if given.get("is_transcoder") else given.get("architecture", "standard")
    if kind not in ("standard", "gated"):
        raise unknown(where, "architecture", kind, "standard, gated")
    # Its loader takes layer_norm where nothing is said.
    how = given.get("normalize_activations", "layer_norm")
    if how not in ("none", None):
        raise unknown(where, "normalize_activations", how, "none", PER_VECTOR.get(str(how), ""))
    recorded = given.get("layer_subtype", RECORDED)
    if recorded != RECORDED:
        why = "only the output of a block is recorded"
        raise unknown(where, "layer_subtype", recorded, RECORDED, why)
    function, k = given.get("activation_fn_str", "relu"), None
    if function == "topk" and kind == "standard":
        kept = given.get("activation_fn_kwargs")
        kind, k = "topk", number(kept if isinstance(kept, dict) else {}, "k", where)
    elif function != "relu":
        allowed = "relu, topk" if kind == "standard" else "relu"
        raise unknown(where, "activation_fn_str", function, allowed)
    d, n = number(given, "d_in", where), number(given, "d_sae", where)
    return Described(str(kind), (where, path), d, n, k)


def convert(described: Described, arrays: Arrays) -> Plain:
    """Take the weights; a gated encoder becomes one with thresholds."""
    path, d, n = described.weights, described.d, described.n_latents
    held = {name.removeprefix("state_dict."): value for name, value in arrays.items()}
    W_enc, W_dec = tensor(held, "W_enc", (d, n), path), tensor(held, "W_dec", (n, d), path)
    b_dec, threshold = tensor(held, "b_dec", (d,), path), np.zeros(())
    if described.trained_as == "gated":
        gate, r, magnitude = (tensor(held, b, (n,), path) for b in ("b_gate", "r_mag", "b_mag"))
        W_enc, b_enc, threshold = gated(W_enc, gate, r, magnitude)
    else:
        b_enc = tensor(held, "b_enc", (n,), path)
    kept = above(threshold, len(b_enc)) if described.k is None else None
    return Plain(W_enc, b_enc, W_dec, b_dec, kept)
