"""TopK encoding and decoding without a dense gradient of the latents.

Equal to the plain dense form in value and gradient; a float64 test holds them equal.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _EncodeTopK(torch.autograd.Function):
    """Equivalent to ``relu(topk(u @ W + bias, k))``, but the gradient of W is summed from b·k outer products."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, weight: Tensor, bias: Tensor, k: int) -> tuple[Tensor, Tensor]:
        values, latents = torch.addmm(bias, u, weight).topk(k, dim=1)
        values = values.relu()
        ctx.save_for_backward(u, values, latents)
        ctx.n_latents = weight.shape[1]
        ctx.mark_non_differentiable(latents)
        return values, latents

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[None, Tensor, Tensor, None]:
        u, values, latents = ctx.saved_tensors
        grad = torch.where(values > 0, grad, 0)
        grad_weight = sum_by_latent(latents, grad, u, ctx.n_latents)
        grad_bias = u.new_zeros(ctx.n_latents).index_add_(0, latents.flatten(), grad.flatten())
        return None, grad_weight.T, grad_bias, None


def encode_topk(u: Tensor, weight: Tensor, bias: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of ``u @ weight + bias``, negative ones set to zero; no gradient for ``u``.

    Args:
        u: (b, d).
        weight: (d, n).
        bias: (n,).
        k: at most n.

    Returns:
        values (b, k) and latents (b, k) int64.
    """
    return _EncodeTopK.apply(u, weight, bias, k)


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
