"""Fast on a GPU: Triton's kernels where they save passes over memory, PyTorch elsewhere.

Products are of bfloat16 numbers, summed in float32; weights, moments and everything else are float32. Ragged codes
may be longer than their last start says, so that the host needn't wait for it: what lies behind has the
latent n and the value 0. See `plain` for what the functions do.
"""

import torch
from torch import Tensor

from saev.sae.kernels import plain, triton

rectify, rectify_backward = plain.rectify, plain.rectify_backward
largest_of_all, squared_error = plain.largest_of_all, plain.squared_error
decode = triton.decode


def encode(u: Tensor, weight: Tensor, bias: Tensor, out: Tensor) -> Tensor:
    half = (u.bfloat16(), weight.bfloat16())
    if u.is_cuda:
        torch.mm(*half, out_dtype=torch.float32, out=out)
    else:  # the interpreter of the tests
        torch.mm(*(t.float() for t in half), out=out)
    return out.add_(bias)


def largest(pre: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    return triton.topk_positive(pre, k)


def above(
    pre: Tensor, bound: Tensor, at_most: int | None = None
) -> tuple[Tensor, Tensor, Tensor] | None:
    return None if at_most is not None else plain.above(pre, bound)


def by_latent(starts: Tensor, latents: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    offsets, vectors, order = triton.by_latent(starts, latents, n)
    return offsets, order, vectors


def sum_by_latent(order: tuple[Tensor, Tensor, Tensor], weights: Tensor, rows: Tensor) -> Tensor:
    offsets, entries, vectors = order
    return triton.sum_by_latent(offsets, vectors, weights[entries], rows)


def reconstruct(
    starts: Tensor, latents: Tensor, values: Tensor, weight: Tensor, bias: Tensor, u: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    residual = u - bias - triton.decode(starts, latents, values, weight)
    products = triton.value_gradients(starts, latents, weight, residual)
    return residual, residual.square().sum(dim=1), products


def adam(
    weight: Tensor,
    grad: Tensor,
    mean: Tensor,
    square: Tensor,
    *,
    rate: float,
    step: int,
    scale: float | Tensor,
    unit_rows: bool,
) -> None:
    given = grad * scale if isinstance(scale, Tensor) else grad

    def rows(tensor: Tensor) -> Tensor:
        if weight.dim() == 1:
            return tensor[None]
        return tensor.T if weight.stride(0) < weight.stride(1) else tensor

    w, g, m, v = (rows(t) for t in (weight.detach(), given, mean, square))
    rates = (rate, step, *plain.BETAS, plain.EPSILON)
    triton.project_adam_normalise(w, g.contiguous(), m, v, *rates, unit_rows)
