"""Kernels of dense latents on a GPU, in Triton. Import only where a CUDA device is used.

Matrices are (b, n), float32. Each of these functions reads and writes them once. Nothing here waits
for the GPU, and each sum has a fixed order. See `plain` for what the functions do.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

COLUMNS = 1024
"""How many elements of a row are processed at once."""
TILE = (8, 128)
"""Rows and columns that are processed at once where columns are summed."""
ROWS = 256
"""How many rows make one part of a column's sum."""


def rectify(pre: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if not pre.is_contiguous():
        raise ValueError("rectify works in place: its argument must be contiguous, row by row")
    sums, counts, fired = pre.new_empty(len(pre)), *_counts(pre)
    with torch.cuda.device_of(pre):
        _keep_above[(len(pre),)](pre, pre, pre, sums, counts, fired, pre.shape[1], False, COLUMNS)
    return sums, counts, fired


def rectify_backward(z: Tensor, grad: Tensor, more: Tensor) -> Tensor:
    (b, n), out = z.shape, torch.empty_like(z)
    with torch.cuda.device_of(z):
        grid = (b, triton.cdiv(n, COLUMNS))
        _where_positive[grid](z, grad.contiguous(), more.contiguous(), out, n, COLUMNS)
    return out


def jump(pre: Tensor, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    pre, theta = pre.contiguous(), theta.contiguous()
    z, sums, (counts, fired) = torch.empty_like(pre), pre.new_empty(len(pre)), _counts(pre)
    with torch.cuda.device_of(pre):
        _keep_above[(len(pre),)](pre, theta, z, sums, counts, fired, pre.shape[1], True, COLUMNS)
    return z, counts, fired


def jump_backward(
    pre: Tensor, theta: Tensor, grad: Tensor, more: Tensor, width: float
) -> tuple[Tensor, Tensor]:
    given = [t.contiguous() for t in (pre, theta, grad, more)]
    (b, n), out = pre.shape, torch.empty_like(given[0])
    parts = triton.cdiv(b, ROWS)
    partial = theta.new_empty(parts, n)
    with torch.cuda.device_of(pre):
        grid = (triton.cdiv(n, TILE[1]), parts)
        _jump_backward[grid](*given, out, partial, b, n, width / 2, ROWS, *TILE)
    return out, partial.sum(dim=0) / -width


def _counts(pre: Tensor) -> tuple[Tensor, Tensor]:
    counts = pre.new_empty(len(pre), dtype=torch.int64)
    return counts, pre.new_zeros(pre.shape[1], dtype=torch.bool)


@triton.jit
def _keep_above(
    pre, theta, out, sums, counts, fired, n, JUMP: tl.constexpr, N: tl.constexpr
):  # fmt: skip
    """Keep what is above θ or, without ``JUMP``, above 0; sum, count and flag it."""
    i = tl.program_id(0).to(tl.int64)
    total = tl.zeros((N,), tl.float32)
    count = tl.zeros((N,), tl.int32)
    for first in range(0, n, N):
        at = first + tl.arange(0, N)
        mask = at < n
        x = tl.load(pre + i * n + at, mask=mask, other=0.0)
        if JUMP:
            on = (x > tl.load(theta + at, mask=mask, other=0.0)) & mask
            z = tl.where(on, x, 0.0)
        else:
            z = tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL)
            on = (z > 0.0) & mask
        tl.store(out + i * n + at, z, mask=mask)
        tl.store(fired + at, on, mask=on)
        total += z
        count += on.to(tl.int32)
    tl.store(sums + i, tl.sum(total, axis=0))
    tl.store(counts + i, tl.sum(count, axis=0).to(tl.int64))


@triton.jit
def _where_positive(z, grad, more, out, n, N: tl.constexpr):
    i = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * N + tl.arange(0, N)
    here, mask = i * n + at, at < n
    g = tl.load(grad + here, mask=mask, other=0.0) + tl.load(more + i)
    on = tl.load(z + here, mask=mask, other=0.0) > 0.0
    tl.store(out + here, tl.where(on, g, 0.0), mask=mask)


@triton.jit
def _jump_backward(
    pre, theta, grad, more, out, partial, b, n, half,
    ROWS: tl.constexpr, R: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0) * C + tl.arange(0, C)
    part = tl.program_id(1).to(tl.int64)
    t = tl.load(theta + at, mask=at < n, other=0.0)[None, :]
    total = tl.zeros((C,), tl.float32)
    for first in range(0, ROWS, R):
        i = part * ROWS + first + tl.arange(0, R)
        mask = (i < b)[:, None] & (at < n)[None, :]
        here = i[:, None] * n + at[None, :]
        x = tl.load(pre + here, mask=mask, other=0.0)
        g = tl.load(grad + here, mask=mask, other=0.0)
        c = tl.load(more + i, mask=i < b, other=0.0)[:, None]
        tl.store(out + here, tl.where(x > t, g, 0.0), mask=mask)
        total += tl.sum(tl.where(mask & (tl.abs(x - t) < half), t * g + c, 0.0), axis=0)
    tl.store(partial + part * n + at, total, mask=at < n)
