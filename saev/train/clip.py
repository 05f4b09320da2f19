"""Clipping of the gradient's global norm."""

import torch
from torch import Tensor

from saev.sae import Sae
from saev.sae.kernels.plain import square_root
from saev.sae.sums import ordered_sum


@torch.no_grad()
def clipping(sae: Sae, limit: float) -> tuple[Tensor, Tensor]:
    """The norm of the whole gradient, and the factor that brings it down to ``limit``, at most 1.

    The number of threads doesn't change the bits. This doesn't wait for the device.

    Args:
        sae: its parameters have their ``grad``.
        limit: the largest Euclidean norm allowed.
    """
    gradients = {name: p.grad for name, p in sae.named_parameters() if p.grad is not None}
    if sae.across is not None and sae.across.rank > 0:  # the first process counts what all have
        gradients = {name: g for name, g in gradients.items() if name in sae.latent_axis}
    # One thread sums a row; several would split a flat sum.
    lengths = [torch.linalg.vector_norm(g, dim=1) if g.ndim > 1 else g for g in gradients.values()]
    squares = ordered_sum(torch.cat([length.square() for length in lengths]))
    norm = square_root(squares if sae.across is None else sae.across.sum(squares))
    return norm, limit / norm.clamp_min(limit)
