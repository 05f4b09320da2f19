"""Clipping of the gradient's global norm."""

from collections.abc import Iterable

import torch
from torch import Tensor

from saev.sae.kernels.plain import square_root
from saev.sae.sums import ordered_sum


@torch.no_grad()
def clipping(parameters: Iterable[Tensor], limit: float) -> tuple[Tensor, Tensor]:
    """The norm of the whole gradient, and the factor that brings it down to ``limit``, at most 1.

    The number of threads doesn't change the bits. This doesn't wait for the device.

    Args:
        parameters: matrices and vectors with their ``grad``.
        limit: the largest Euclidean norm allowed.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    # One thread sums a row; several would split a flat sum.
    lengths = [torch.linalg.vector_norm(g, dim=1) if g.ndim > 1 else g for g in gradients]
    norm = square_root(ordered_sum(torch.cat([length.square() for length in lengths])))
    return norm, limit / norm.clamp_min(limit)
