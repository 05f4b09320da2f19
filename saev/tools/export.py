"""`saev export`: writes a dictionary in the format of another library."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save
from torch import Tensor

from saev.core.errors import UserError
from saev.core.files import canonical_json, to_json, write_bytes
from saev.elsewhere import sae_lens
from saev.sae import Sae
from saev.sae.converted import Converted
from saev.sae.jumprelu import JumpRelu
from saev.sae.matryoshka import OverTopK
from saev.sae.topk import TopK

SAE_LENS_VERSION = "6.54.12"
"""The version that an export was loaded with."""


class Exported(NamedTuple):
    """``z = σ(x W_enc + b_enc)``, ``x̂ = z W_dec + b_dec``: a dictionary whose normalisation is part
    of its weights. Tensors are float32; only their rounding differs from the dictionary."""

    W_enc: Tensor
    """(d, n)"""
    b_enc: Tensor
    """(n,)"""
    W_dec: Tensor
    """(n, d)"""
    b_dec: Tensor
    """(d,)"""
    threshold: Tensor | None
    """(n,), σ keeps what exceeds it. None if it keeps the k largest positive ones."""
    k: int | None
    stream: str
    """What it was trained on."""

    def weights(self) -> dict[str, Tensor]:
        """The tensors by name; the threshold only if there is one."""
        named = self._asdict()
        return {name: t.contiguous() for name, t in named.items() if isinstance(t, Tensor)}


def exported(sae: Sae) -> Exported:
    """Fold the normalisation of a dictionary into its weights.

    ``pre = ((x − m) / s − b_dec) W + b = x (W / s) + (b − (m / s + b_dec) W)``, and
    ``x̂ = (z D + b_dec) s + m = z (D s) + (b_dec s + m)``, computed in float64.
    """
    s, m = sae.norm_scale.double(), sae.norm_mean.double()
    W_enc, W_dec, b_dec = sae.W_enc.double(), sae.W_dec.double(), sae.b_dec.double()
    b_enc = sae.b_enc.double() - (m / s + b_dec) @ W_enc
    k, threshold = _selection(sae)
    return Exported(
        W_enc=(W_enc / s[:, None]).float(),
        b_enc=b_enc.float(),
        W_dec=(W_dec * s).float(),
        b_dec=(b_dec * s + m).float(),
        threshold=threshold,
        k=k,
        stream=str(sae.stream),
    )


def _selection(sae: Sae) -> tuple[int | None, Tensor | None]:
    """How many latents a dictionary keeps, or the threshold (n,) of each."""
    if isinstance(sae, (TopK, OverTopK)):
        return sae.settings.k, None
    if isinstance(sae, Converted) and sae.k is not None:
        return sae.k, None
    if isinstance(sae, JumpRelu):
        return None, sae.log_threshold.exp()
    at_least_zero = dict(sae.named_buffers()).get("threshold", torch.zeros(()))
    return None, at_least_zero.expand(sae.n_latents)


def _to_sae_lens(one: Exported, out: Path) -> list[Path]:
    d, n = one.W_enc.shape
    kind, weights = "topk" if one.threshold is None else "jumprelu", one.weights()
    if one.threshold is not None and not one.threshold.any():
        kind = "standard"
        del weights["threshold"]
    config = {
        "architecture": kind,
        **{"d_in": d, "d_sae": n, "dtype": "float32", "device": "cpu"},
        **{"apply_b_dec_to_input": False, "normalize_activations": "none"},
        "reshape_activations": "none",
        **({"k": one.k, "rescale_acts_by_decoder_norm": False} if one.k is not None else {}),
        # SAELens reads a configuration without its version as one from before version 6.
        "metadata": {"sae_lens_version": SAE_LENS_VERSION, "hook_name": one.stream},
    }
    paths = [out / name for name in sae_lens.FILES]
    write_bytes(paths[0], to_json(config))
    write_bytes(paths[1], save(weights))
    return paths


def _to_saev(one: Exported, out: Path) -> list[Path]:
    d, n = one.W_enc.shape
    if one.threshold is None:
        raise UserError(
            "--to saev: it keeps the k largest latents of a vector even if they are negative, and "
            "this dictionary doesn't: use --to sae-lens"
        )
    if one.threshold.any():
        raise UserError("--to saev: it has no thresholds of latents: use --to sae-lens")
    if n % d:
        raise UserError(
            f"--to saev: its number of latents is a multiple of the width, but {n:,} isn't one of "
            f"{d:,}: use --to sae-lens"
        )
    config = {"d_vit": d, "exp_factor": n // d, "activation": {"cls": "Relu", "params": {}}}
    # Code that reads it would give rows of W_dec norm 1 only when it makes new ones.
    head = {"schema": 2, "cfg": config, "commit": "unknown", "lib": "saev-workflow"}
    state = io.BytesIO()
    weights = one.weights()
    del weights["threshold"]
    torch.save(weights, state)
    path = out / "sae.pt"
    write_bytes(path, f"{json.dumps(head)}\n".encode() + state.getvalue())
    return [path]


def _to_safetensors(one: Exported, out: Path) -> list[Path]:
    kept = "what exceeds threshold" if one.k is None else f"the {one.k} largest positive"
    said = f"z = {kept} of x @ W_enc + b_enc; x_hat = z @ W_dec + b_dec"
    about = {"equation": said, "k": one.k, "stream": one.stream}
    path = out / "dictionary.safetensors"
    write_bytes(path, save(one.weights(), {"about": canonical_json(about)}))
    return [path]


TARGETS: dict[str, Callable[[Exported, Path], list[Path]]] = {
    "sae-lens": _to_sae_lens,
    "saev": _to_saev,
    "safetensors": _to_safetensors,
}
"""What writes a dictionary, by the name for ``--to``."""


def require_new(folder: Path) -> None:
    """Refuse a folder that has files, or a file in its place."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already: name a new folder")


def export(sae: Sae, to: str, out: Path) -> list[Path]:
    """Write a dictionary into a new folder; return the files.

    Args:
        sae: the dictionary; to: one of `TARGETS`; out: the folder.

    Raises:
        UserError: the folder has files, or that format can't hold the dictionary exactly.
    """
    require_new(out)
    one = exported(sae)
    made = out.exists()
    out.mkdir(parents=True, exist_ok=True)
    try:
        return TARGETS[to](one, out)
    except UserError:
        if not made:
            out.rmdir()
        raise
