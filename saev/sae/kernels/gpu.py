"""Kernels for the GPU: Triton where it saves passes over memory, PyTorch elsewhere.

Nothing here waits for the GPU. The factors of dense products, and the rows that sparse codes weigh
and sum, are rounded to bfloat16. Everything else is float32: sums, codes, weights and moments. See
`plain` for what the functions do.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from saev.sae.kernels import dense, plain, triton

HALF = torch.bfloat16
"""The type that factors of products are rounded to."""
DENSE_DEAD = 8192
"""See `plain`. A matrix of so many columns takes 0.5 GB for 16,384 vectors. By its FLOPs, an H100
needs about 2 ms for the products; to gather 512 rows for each vector takes it 20 ms."""
LEAST = 2.0**-149
"""The least positive float32."""
MANY = 1 << 26
"""From this many elements on, `largest_of_all` looks for groups first. Below, an H100 would need
longer to start the further operations than to read all elements several times (by arithmetic)."""
BIAS_PARTS = 3
"""How many bfloat16 numbers, of 8 significant bits each, add up to a float32."""

rectify, rectify_backward = dense.rectify, dense.rectify_backward
jump, jump_backward = dense.jump, dense.jump_backward
squared_error = plain.squared_error
decode = triton.decode


def encode(u: Tensor, weight: Tensor, bias: Tensor, centre: Tensor, out: Tensor) -> Tensor:
    return _product(*_folded(u - centre, weight, bias), out)


def affine(x: Tensor, weight: Tensor, bias: Tensor, centre: Tensor | None = None) -> Tensor:
    return _Affine.apply(x, weight, bias, centre)


class _Affine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, centre: Tensor | None) -> Tensor:
        # Subtract the centre before rounding: a mean far from 0 would cost the bits of the
        # deviations.
        left, right = _folded(x if centre is None else x - centre, weight, bias)
        ctx.save_for_backward(left, right, weight)
        return _product(left, right)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        left, right, weight = ctx.saved_tensors
        x, half = left[:, : len(weight)], grad.to(HALF)
        for_x, _, _, for_centre = ctx.needs_input_grad
        grad_x = _product(half, right[: len(weight)].T) if for_x else None
        # The gradient gets the weight's layout in memory.
        by_column = weight.stride(0) < weight.stride(1)
        grad_weight = _product(half.T, x).T if by_column else _product(x.T, half)
        grad_bias = grad.sum(dim=0)
        return grad_x, grad_weight, grad_bias, -(weight @ grad_bias) if for_centre else None


def _folded(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Factors in bfloat16 whose product is ``x @ weight + bias``.

    This saves a pass to add the bias.

    ``x`` gets extra columns of ones, and the weight extra rows for the bias. The bias is split into
    several such rows, so that it keeps all its bits. Zeros fill the inner width up to one that
    tensor cores accept.
    """
    (b, p), q = x.shape, weight.shape[1]
    width = -(-(p + BIAS_PARTS) // 8) * 8
    left = x.new_empty(b, width, dtype=HALF)
    left[:, :p] = x
    left[:, p:] = 0
    left[:, p : p + BIAS_PARTS] = 1
    by_column = weight.stride(0) < weight.stride(1)
    right = weight.new_empty((q, width) if by_column else (width, q), dtype=HALF)
    right = right.T if by_column else right
    right[:p] = weight
    right[p:] = 0
    rest = bias
    for i in range(p, p + BIAS_PARTS):
        right[i] = rest
        rest = rest - right[i]
    return left, right


def _product(left: Tensor, right: Tensor, out: Tensor | None = None) -> Tensor:
    if left.is_cuda:
        return torch.mm(left, right, out_dtype=torch.float32, out=out)
    return torch.mm(left.float(), right.float(), out=out)  # the interpreter of the tests


def largest(pre: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    return triton.topk_positive(pre, k)


def largest_of_all(pre: Tensor, m: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of equal elements, the first are taken. A NaN counts as larger than any number.

    An element that is among the m largest lies in one of the m groups with the largest maxima. So
    one pass over ``pre`` is enough: it finds the groups' maxima. All sizes are known beforehand.
    """
    (b, n), flat = pre.shape, pre.flatten()
    # There are then about as many groups as elements in those that are chosen.
    size = math.isqrt(len(flat) // m) if len(flat) >= MANY else 1
    if size > 1:
        whole = flat[: len(flat) // size * size].view(-1, size)
        groups = _first_largest(whole.amax(dim=1), min(m, len(whole)), -torch.inf)
        candidates = torch.cat([whole[groups].flatten(), flat[whole.numel() :]])
        here = _first_largest(candidates, m, LEAST)
        at = torch.cat([groups, groups.new_full((1,), len(whole))])[here // size] * size
        at += here % size
    else:
        at = _first_largest(flat, m, LEAST)
    found = at < len(flat)
    values = torch.where(found, flat[at.clamp_max(len(flat) - 1)], 0)
    starts = torch.searchsorted(at, n * torch.arange(b + 1, device=pre.device))
    return starts, torch.where(found, at % n, n), values


def _first_largest(values: Tensor, m: int, least: float) -> Tensor:
    """Where the m largest of many numbers are, ascending; of equal ones, the first.

    Those below ``least`` are left out. For each, there is ``len(values)`` at the end.
    """
    values = values.nan_to_num(torch.inf, torch.inf, -torch.inf)
    bound = values.topk(m, sorted=False).values.amin().clamp_min(least)
    above, equal = values > bound, values == bound
    room = m - above.sum()
    counts = torch.int32 if len(values) < 1 << 31 else torch.int64
    taken = above | (equal & (equal.cumsum(0, dtype=counts) <= room))
    numbers = torch.arange(1, m + 1, dtype=counts, device=values.device)
    return torch.searchsorted(taken.cumsum(0, dtype=counts), numbers)


def above(
    pre: Tensor, bound: Tensor, at_most: int | None = None
) -> tuple[Tensor, Tensor, Tensor] | None:
    return None if at_most is not None else plain.above(pre, bound)


def keep(
    starts: Tensor, latents: Tensor, values: Tensor, kept: Tensor, n: int
) -> tuple[Tensor, Tensor, Tensor]:
    m = len(latents)
    before = pad(kept.cumsum(0), (1, 0))
    # Entries that aren't kept go to one place at the end, which is cut off.
    to = torch.where(kept, before[:-1], m)
    moved = latents.new_full((m + 1,), n).scatter_(0, to, latents)
    return before[starts], moved[:m], values.new_zeros(m + 1).scatter_(0, to, values)[:m]


def joined(parts: list[tuple[Tensor, Tensor, Tensor]], n: int) -> tuple[Tensor, Tensor, Tensor]:
    used = [
        torch.arange(len(latents), device=latents.device) < starts[-1]
        for starts, latents, _ in parts
    ]
    return keep(*plain.joined(parts, n), torch.cat(used), n)


def by_latent(starts: Tensor, latents: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    offsets, vectors, order = triton.by_latent(starts, latents, n)
    return offsets, order, vectors


def sum_by_latent(order: tuple[Tensor, Tensor, Tensor], weights: Tensor, rows: Tensor) -> Tensor:
    offsets, entries, vectors = order
    return triton.sum_by_latent(offsets, vectors, weights[entries], rows.to(HALF))


def reconstruct(
    starts: Tensor, latents: Tensor, values: Tensor, weight: Tensor, bias: Tensor, u: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    half = weight.to(HALF)
    residual = u - bias - triton.decode(starts, latents, values, half)
    products = triton.value_gradients(starts, latents, half, residual.to(HALF))
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
