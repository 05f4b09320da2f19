"""Vectors with some latents scaled or set, and everything else as it was."""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from saev.analyze.accumulate import batch_vectors
from saev.core.typed import typed
from saev.sae import Sae

How = Literal["scale", "set"]


@typed
@torch.no_grad()
def edited(
    sae: Sae, x: Float[Tensor, "b d"], latents: Mapping[int, float], how: How
) -> Float[Tensor, "b d"]:
    """Raw vectors x (b, d) float32 with other values z' of some latents.

    ``x' = x + Σ_j (z'_j − z_j) w_j · norm_scale``: what the dictionary misses of a vector stays in
    it (Marks et al. 2024, Sparse feature circuits, section 2).

    Args:
        latents: a factor (``scale``; 0 ablates) or a value (``set``) for each latent.
        how: ``scale`` changes a latent where it fires, ``set`` everywhere.
    """
    chosen = torch.tensor(sorted(latents), device=x.device)
    given = torch.tensor([float(latents[j]) for j in sorted(latents)], device=x.device)
    parts = []
    size = batch_vectors(sae.n_latents, x.device)
    for start in range(0, len(x), size):
        here = x[start : start + size]
        vector, latent, value = sae.active(here)
        at = torch.searchsorted(chosen, latent).clamp_max(len(chosen) - 1)
        mine = chosen[at] == latent
        z = here.new_zeros(len(here), len(chosen))
        z[vector[mine], at[mine]] = value[mine]
        new = z * given if how == "scale" else given.expand_as(z)
        parts.append(here + ((new - z) @ sae.dictionary()[chosen]) * sae.norm_scale)
    return torch.cat(parts)
