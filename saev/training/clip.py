"""Clipping of the gradient's global norm."""

from collections.abc import Iterable

import torch
from torch import Tensor

from saev.sae.sums import ordered_sum


@torch.no_grad()
def clipping(parameters: Iterable[Tensor], limit: float) -> tuple[Tensor, Tensor]:
    """The gradient's norm over all parameters together, and what to multiply it by so that it is ``limit`` at most.

    The same bits for any number of threads, and without waiting for the device.

    Args:
        parameters: matrices and vectors with their ``grad``.
        limit: largest Euclidean norm.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    # A sum along a row stays in one thread; a flat sum would be split.
    lengths = [torch.linalg.vector_norm(g, dim=1) if g.ndim > 1 else g for g in gradients]
    norm = ordered_sum(torch.cat([length.square() for length in lengths])).sqrt()
    return norm, limit / norm.clamp_min(limit)
