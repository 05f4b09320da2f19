"""TopK encoding and decoding without a dense gradient of the latents.

Equal to the plain dense form in value and gradient; a float64 test holds them equal.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _Attach(torch.autograd.Function):
    """Identity on the selected values, whose gradient is summed from their b·k outer products with u."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, latents: Tensor, u: Tensor, weight: Tensor, bias: Tensor
    ) -> Tensor:
        ctx.save_for_backward(values, latents, u)
        ctx.n_latents = weight.shape[1]
        return values.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, None, Tensor, Tensor]:
        values, latents, u = ctx.saved_tensors
        grad = torch.where(values > 0, grad, 0)
        grad_weight = sum_by_latent(latents, grad, u, ctx.n_latents)
        grad_bias = u.new_zeros(ctx.n_latents).index_add_(0, latents.flatten(), grad.flatten())
        return None, None, None, grad_weight.T, grad_bias


def select_topk(
    pre: Tensor, u: Tensor, weight: Tensor, bias: Tensor, k: int, among: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The k largest of each row of ``u @ weight + bias``, negative ones set to zero; no gradient for u.

    Args:
        pre: (b, n), that product, computed without gradients (so that it serves several selections).
        u: (b, d).
        weight: (d, n).
        bias: (n,).
        k: at most the number of latents to choose from.
        among: (m,) int64, the latents to choose from; all if None.

    Returns:
        values (b, k) and latents (b, k) int64.
    """
    values, latents = (pre if among is None else pre[:, among]).topk(k, dim=1)
    if among is not None:
        latents = among[latents]
    return _Attach.apply(values.relu(), latents, u, weight, bias), latents


def sum_by_latent(latents: Tensor, weights: Tensor, rows: Tensor, n_latents: int) -> Tensor:
    """``out[j] = Σ weights[i, s] · rows[i]`` over all (i, s) with ``latents[i, s] = j``, in order of i.

    Args:
        latents: (b, k) int64.
        weights: (b, k).
        rows: (b, d).
        n_latents: n.

    Returns:
        (n, d).
    """
    # PyTorch has this sum as the gradient of decoding, in a fixed order whatever the threads.
    with torch.enable_grad():
        weight_nd = rows.new_zeros(n_latents, rows.shape[1]).requires_grad_(True)
        decoded = decode_sparse(weights, latents, weight_nd)
    return torch.autograd.grad(decoded, weight_nd, rows)[0]


def decode_sparse(values: Tensor, latents: Tensor, weight: Tensor) -> Tensor:
    """``Σ_s values[i, s] · weight[latents[i, s]]``: (b, k), (b, k) int64 and (n, d) to (b, d)."""
    return torch.nn.functional.embedding_bag(latents, weight, mode="sum", per_sample_weights=values)
