"""Kernels of a training step on a GPU, in Triton. Import only where a CUDA device is used.

Sparse codes are ragged: row i has the entries ``starts[i]`` to ``starts[i + 1]`` of ``latents`` and
``values``, with ascending latents. Both may be longer than ``starts[-1]``, so that the host needn't
wait to learn that number. The rest has latent n and value 0 and is ignored. Nothing here waits for
the GPU, and each sum has a fixed order.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

SLOTS = 16
"""How many entries of a row are gathered at once."""
COLUMNS = 128
"""Rows are processed in slices of this width: first the first slice of all rows, then the second.
A slice of 65,536 rows (16 MiB in bfloat16, 32 MiB in float32) stays in the L2 cache of a big
GPU."""
GROUPS = 1024
"""Smallest number of groups that `topk_positive` divides the elements of a row into."""


def decode(starts: Tensor, latents: Tensor, values: Tensor, weight: Tensor) -> Tensor:
    """``out[i] = Σ_s values[s] · weight[latents[s]]`` over the entries s of row i, in float32.

    Equivalent to ``sparse_csr_tensor(starts, latents, values) @ weight``.

    Args:
        starts, latents, values: (b + 1,) int64, (m,) int64 and (m,) float32.
        weight: (n, d) float32 or bfloat16.

    Returns:
        (b, d) float32.
    """
    values, weight = values.contiguous(), weight.contiguous()
    b, d = len(starts) - 1, weight.shape[1]
    out = torch.empty(b, d, device=weight.device)
    with torch.cuda.device_of(weight):
        grid = (b, triton.cdiv(d, COLUMNS))
        _weighted_sum[grid](starts, latents, values, weight, out, d, SLOTS, COLUMNS)
    return out


def value_gradients(starts: Tensor, latents: Tensor, weight: Tensor, grad: Tensor) -> Tensor:
    """``out[s] = ⟨grad[i], weight[latents[s]]⟩`` for each entry s of each row i; 0 after the last.

    Equivalent to ``(grad[row] * weight[latents]).sum(dim=1)``.

    Args:
        starts, latents: (b + 1,) and (m,) int64.
        weight, grad: (n, d) and (b, d), float32 or bfloat16.

    Returns:
        (m,) float32.
    """
    weight, grad = weight.contiguous(), grad.contiguous()
    (b, d), m = grad.shape, len(latents)
    slices = triton.cdiv(d, COLUMNS)
    partial = torch.zeros(slices, m, device=weight.device)
    with torch.cuda.device_of(weight):
        _dot[(b, slices)](starts, latents, weight, grad, partial, d, m, SLOTS, COLUMNS)
    return partial.sum(dim=0)


def by_latent(starts: Tensor, latents: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same entries ordered by latent, then row.

    Equivalent to ``sparse_csr_tensor(starts, latents, …).to_sparse_csc()``.

    Args:
        starts, latents: (b + 1,) and (m,) int64.
        n: number of latents.

    Returns:
        offsets (n + 1,) int64, the first entry of each latent; vectors (m,) int64, the row of each
        entry; order (m,) int64, where each entry was before: ``values[order]`` are the weights for
        `sum_by_latent`.
    """
    ordered, order = latents.int().sort(stable=True)
    bounds = torch.arange(n + 1, dtype=torch.int32, device=latents.device)
    offsets = torch.searchsorted(ordered, bounds)
    # If several rows have the same start, all but the last are empty.
    vectors = torch.searchsorted(starts, order, right=True) - 1
    return offsets, vectors.clamp_max(len(starts) - 2), order


def sum_by_latent(offsets: Tensor, vectors: Tensor, weights: Tensor, rows: Tensor) -> Tensor:
    """``out[j] = Σ_s weights[s] · rows[vectors[s]]`` over the entries s of latent j, in order.

    Equivalent to ``sparse_csr_tensor(offsets, vectors, weights) @ rows``, and so to `decode` with
    offsets (n + 1,), vectors (m,), weights (m,) and rows (b, d) as its arguments; returns (n, d)
    float32.
    """
    return decode(offsets, vectors, weights, rows)


def topk_positive(
    pre: Tensor, k: int, groups: int | None = None, capacity: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The k largest elements of each row that are positive, exactly; of equal ones the first.

    Equivalent to ``plain.largest(pre, k)``, by the method of ``selection.largest``: the k-th
    largest of the maxima of groups is a lower bound on the k-th largest element, and few elements
    reach it. This reads each row twice, and more often if over ``capacity`` elements reach the
    bound.

    Args:
        pre: (b, n) float32 or bfloat16. A NaN counts as larger than any number.
        k: at most n.
        groups, capacity: powers of two. With fewer groups than k, every positive element reaches
            the bound.

    Returns:
        starts (b + 1,) int64, latents (b · k,) int64 and values (b · k,) float32. After
        ``starts[-1]``, latents are n and values 0.
    """
    pre = pre.contiguous()
    b, n = pre.shape
    groups = groups or max(GROUPS, min(4 * GROUPS, triton.next_power_of_2(4 * k)))
    capacity = capacity or groups
    found = pre.new_empty(b, capacity, dtype=torch.int32)
    counts = pre.new_empty(b, dtype=torch.int32)
    starts = pre.new_zeros(b + 1, dtype=torch.int64)
    latents = pre.new_full((b * k,), n, dtype=torch.int64)
    values = pre.new_zeros(b * k, dtype=torch.float32)
    with torch.cuda.device_of(pre):
        _find[(b,)](pre, found, counts, n, k, groups, capacity)
        torch.cumsum(counts.clamp_max(k), 0, dtype=torch.int64, out=starts[1:])
        _choose[(b,)](pre, found, counts, starts, latents, values, n, k, capacity)
    return starts, latents, values


@torch.no_grad()
def project_adam_normalise(
    weight: Tensor, grad: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, lr: float, step: float,
    beta1: float, beta2: float, eps: float, unit_rows: bool,
) -> None:  # fmt: skip
    """Take one step of Adam in place. ``grad`` doesn't change.

    Equivalent to ``torch.optim.Adam.step``. With ``unit_rows``, also equivalent to
    ``remove_parallel_gradient`` before the step and ``unit_rows`` after it (both in
    `saev.sae.base`).

    Args:
        weight, grad, exp_avg, exp_avg_sq: (n, d) float32, contiguous.
        lr, beta1, beta2, eps: as in ``torch.optim.Adam``.
        step: number of this step, from 1.
        unit_rows: keep the rows' norm at 1. A row is then held in registers (d up to 16,384).
    """
    tensors = (weight, grad, exp_avg, exp_avg_sq)
    if any(t.shape != weight.shape or not t.is_contiguous() for t in tensors):
        raise ValueError("weight, grad, exp_avg and exp_avg_sq must be contiguous and of one shape")
    n, d = weight.shape
    block = triton.next_power_of_2(d) if unit_rows else 1024
    if not unit_rows:  # Treat all as one long row.
        n, d = 1, n * d
    corrected = (lr / (1 - beta1**step), (1 - beta2**step) ** 0.5)
    rates = (*corrected, 1 - beta1, beta2, 1 - beta2, eps)
    with torch.cuda.device_of(weight):
        _adam[(n * triton.cdiv(d, block),)](
            *tensors, d, *rates, unit_rows, block, num_warps=4 if block <= 2048 else 16
        )


@triton.jit
def _weighted_sum(starts, columns, values, rows, out, d, S: tl.constexpr, D: tl.constexpr):
    i = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * D + tl.arange(0, D)
    end = tl.load(starts + i + 1)
    total = tl.zeros((D,), tl.float32)
    for first in range(tl.load(starts + i), end, S):
        s = first + tl.arange(0, S)
        column = tl.load(columns + s, mask=s < end, other=0)
        value = tl.load(values + s, mask=s < end, other=0.0).to(tl.float32)
        mask = (s < end)[:, None] & (at < d)[None, :]
        tile = tl.load(rows + column[:, None] * d + at[None, :], mask=mask, other=0.0)
        total += tl.sum(value[:, None] * tile.to(tl.float32), axis=0)
    tl.store(out + i * d + at, total, mask=at < d)


@triton.jit
def _dot(starts, latents, weight, grad, partial, d, m, S: tl.constexpr, D: tl.constexpr):
    i = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * D + tl.arange(0, D)
    end = tl.load(starts + i + 1)
    row = tl.load(grad + i * d + at, mask=at < d, other=0.0).to(tl.float32)
    out = partial + tl.program_id(1).to(tl.int64) * m
    for first in range(tl.load(starts + i), end, S):
        s = first + tl.arange(0, S)
        latent = tl.load(latents + s, mask=s < end, other=0)
        mask = (s < end)[:, None] & (at < d)[None, :]
        tile = tl.load(weight + latent[:, None] * d + at[None, :], mask=mask, other=0.0)
        tl.store(out + s, tl.sum(row[None, :] * tile.to(tl.float32), axis=1), mask=s < end)


# As integers, the bits of positive floats have the same order, and those of negative floats are
# negative. Every NaN becomes the smallest positive NaN, so that there is an integer above it.
@triton.jit
def _bits(pre, at, mask):
    bits = tl.load(pre + at, mask=mask, other=0.0).to(tl.float32).to(tl.int32, bitcast=True)
    return tl.minimum(bits, 0x7FC00000)


@triton.jit
def _kth_largest(bits, k):
    """The k-th largest of a block of integers, at least 0."""
    least = tl.min(bits, axis=0) * 0
    for bit in range(31):
        trial = least | (1 << (30 - bit))
        least = tl.where(tl.sum((bits >= trial).to(tl.int32), axis=0) >= k, trial, least)
    return least


@triton.jit
def _reaching(row, n, bound, C: tl.constexpr):
    count = bound * 0
    for first in range(0, n, C):
        at = first + tl.arange(0, C)
        count += tl.sum((_bits(row, at, at < n) >= bound).to(tl.int32), axis=0)
    return count


@triton.jit
def _find(pre, found, counts, n, k, G: tl.constexpr, C: tl.constexpr):
    """Write how many elements of a row reach the bound, and where the first C of them are."""
    i = tl.program_id(0).to(tl.int64)
    row, out = pre + i * n, found + i * C
    maxima = tl.zeros((G,), tl.int32)
    for first in range(0, n, G):
        at = first + tl.arange(0, G)
        maxima = tl.maximum(maxima, _bits(row, at, at < n))
    bound = tl.maximum(_kth_largest(maxima, k), 1)  # 1 is the least positive float
    count = tl.sum(maxima * 0, axis=0)
    for first in range(0, n, G):
        at = first + tl.arange(0, G)
        reach = (_bits(row, at, at < n) >= bound).to(tl.int32)
        place = count + tl.cumsum(reach, axis=0) - 1
        tl.store(out + place, at, mask=(reach > 0) & (place < C))
        count += tl.sum(reach, axis=0)
    tl.store(counts + i, count)


@triton.jit
def _choose(pre, found, counts, starts, latents, values, n, k, C: tl.constexpr):
    """Write the k largest of what `_find` found in a row; if that was too much, of the row."""
    i = tl.program_id(0).to(tl.int64)
    row = pre + i * n
    count = tl.load(counts + i)
    length = tl.where(count <= C, count, n)
    listed = tl.where(count <= C, count, 0)
    s = tl.arange(0, C)
    least = count * 0
    room = count * 0  # how many that equal `least` are chosen
    if count >= k:
        if count <= C:
            at = tl.load(found + i * C + s, mask=s < count, other=0)
            bits = _bits(row, at, s < count)
            least = _kth_largest(bits, k)
            room = k - tl.sum((bits > least).to(tl.int32), axis=0)
        else:
            for bit in range(31):
                trial = least | (1 << (30 - bit))
                least = tl.where(_reaching(row, n, trial, C) >= k, trial, least)
            room = k - _reaching(row, n, least + 1, C)
    written = tl.load(starts + i)
    for first in range(0, length, C):
        at = tl.load(found + i * C + s, mask=first + s < listed, other=0)
        at = tl.where(first + s < listed, at, first + s)
        bits = _bits(row, at, first + s < length)
        equal = (bits == least).to(tl.int32)
        chosen = (bits > least) | ((equal > 0) & (tl.cumsum(equal, axis=0) <= room))
        place = written + tl.cumsum(chosen.to(tl.int32), axis=0) - 1
        tl.store(latents + place, at.to(tl.int64), mask=chosen)
        tl.store(values + place, bits.to(tl.float32, bitcast=True), mask=chosen)
        written += tl.sum(chosen.to(tl.int32), axis=0)
        room -= tl.sum(equal, axis=0)


@triton.jit
def _adam(
    weight, grad, exp_avg, exp_avg_sq, d, step_size, root, new1, beta2, new2, eps,
    UNIT: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0).to(tl.int64)
    if UNIT:
        at, mask = i * d + tl.arange(0, D), tl.arange(0, D) < d
    else:
        at = i * D + tl.arange(0, D)
        mask = at < d
    w = tl.load(weight + at, mask=mask, other=0.0)
    g = tl.load(grad + at, mask=mask, other=0.0)
    m = tl.load(exp_avg + at, mask=mask, other=0.0)
    v = tl.load(exp_avg_sq + at, mask=mask, other=0.0)
    if UNIT:
        g -= tl.sum(g * w, axis=0) * w
    m += new1 * (g - m)
    v = beta2 * v + new2 * g * g
    w -= step_size * m / (tl.sqrt_rn(v) / root + eps)
    if UNIT:
        norm = tl.sqrt_rn(tl.sum(w * w, axis=0))
        w = w / tl.maximum(norm, 1.1754943508222875e-38)  # the least normal float, as in unit_rows
    tl.store(weight + at, w, mask=mask)
    tl.store(exp_avg + at, m, mask=mask)
    tl.store(exp_avg_sq + at, v, mask=mask)
