"""Clipping of the gradient's global norm."""

from collections.abc import Iterable

import torch
from torch import Tensor

from saev.sae.base import ordered_sum


@torch.no_grad()
def clip_gradients(parameters: Iterable[Tensor], limit: float) -> Tensor:
    """Shorten the gradient of all parameters together to ``limit``, if it is longer.

    The same bits for any number of threads, and without waiting for the device.

    Args:
        parameters: matrices and vectors whose ``grad`` is scaled in place.
        limit: largest Euclidean norm.

    Returns:
        The norm before, a scalar.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    # A sum along a row stays in one thread; a flat sum would be split.
    lengths = [torch.linalg.vector_norm(g, dim=1) if g.ndim > 1 else g for g in gradients]
    norm = ordered_sum(torch.cat([length.square() for length in lengths])).sqrt()
    scale = limit / norm.clamp_min(limit)
    for gradient in gradients:
        gradient.mul_(scale)
    return norm
