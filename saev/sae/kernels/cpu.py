"""Compiled loops for the CPU. The number of threads doesn't change their results.

One thread makes each output row, in the order of its entries. See `plain` for what the functions
do. The loops run in their own threads, which sleep while they have no work. Threads of OpenMP would
spin and take the cores from PyTorch's threads.
"""

import numpy as np
import torch
from torch import Tensor, from_numpy

from saev.core.compiled import compiled
from saev.sae.kernels import plain, selection
from saev.sae.kernels.threads import spread

DENSE_DEAD = plain.DENSE_DEAD

encode, affine = plain.encode, plain.affine
keep, joined = plain.keep, plain.joined

# No check for division by zero: with it, loops wouldn't become vector instructions.
reordered = compiled(error_model="numpy", fastmath={"reassoc", "contract", "nsz", "arcp"})


def largest(pre: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    return (selection if pre.dtype == torch.float32 else plain).largest(pre, k)


def largest_of_all(pre: Tensor, m: int) -> tuple[Tensor, Tensor, Tensor]:
    return (selection if pre.dtype == torch.float32 else plain).largest_of_all(pre, m)


def above(
    pre: Tensor, bound: Tensor, at_most: int | None = None
) -> tuple[Tensor, Tensor, Tensor] | None:
    starts = torch.zeros(len(pre) + 1, dtype=torch.int64)
    array, bounds = _arrays(pre, bound.expand(pre.shape[1]))
    spread(_count_above, len(array), array, bounds, starts[1:].numpy())
    torch.cumsum(starts, 0, out=starts)
    total = int(starts[-1])
    if at_most is not None and total > at_most:
        return None
    columns, values = torch.empty(total, dtype=torch.int64), torch.empty(total, dtype=pre.dtype)
    spread(_above, len(array), array, bounds, *_arrays(starts, columns, values))
    return starts, columns, values


def decode(starts: Tensor, latents: Tensor, values: Tensor, weight: Tensor) -> Tensor:
    out = torch.empty(len(starts) - 1, weight.shape[1], dtype=weight.dtype)
    spread(_decode, len(out), *_arrays(starts, latents, values, weight, out))
    return out


def reconstruct(
    starts: Tensor, latents: Tensor, values: Tensor, weight: Tensor, bias: Tensor, u: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    residual = torch.empty_like(u, memory_format=torch.contiguous_format)
    sums, products = torch.empty(len(u), dtype=u.dtype), torch.empty_like(values)
    arrays = _arrays(starts, latents, values, weight, bias, u, residual, sums, products)
    spread(_reconstruct, len(u), *arrays)
    return residual, sums, products


def by_latent(starts: Tensor, latents: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    first, second = _arrays(starts, latents)
    firsts, entries, vectors = _by_latent(first, second, n)
    return from_numpy(firsts), from_numpy(entries), from_numpy(vectors)


def sum_by_latent(order: tuple[Tensor, Tensor, Tensor], weights: Tensor, rows: Tensor) -> Tensor:
    out = torch.empty(len(order[0]) - 1, rows.shape[1], dtype=rows.dtype)
    spread(_sum_by_latent, len(out), *_arrays(*order, weights, rows, out))
    return out


def squared_error(u: Tensor, reconstruction: Tensor) -> tuple[Tensor, Tensor]:
    residual, sums = torch.empty_like(u), torch.empty(len(u), dtype=u.dtype)
    spread(_squared_error, len(u), *_arrays(u, reconstruction, residual, sums))
    return residual, sums


def rectify(pre: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    b, n = pre.shape
    sums, counts = torch.empty(b, dtype=pre.dtype), torch.empty(b, dtype=torch.int64)
    fired = torch.zeros(n, dtype=torch.bool)
    if not pre.is_contiguous():
        raise ValueError("rectify works in place: its argument must be contiguous, row by row")
    spread(_rectify, b, *_arrays(pre, sums, counts, fired))
    return sums, counts, fired


def rectify_backward(z: Tensor, grad: Tensor, more: Tensor) -> Tensor:
    out = torch.empty_like(z)
    spread(_rectify_backward, len(z), *_arrays(z, grad, more, out))
    return out


def jump(pre: Tensor, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    z, counts = torch.empty_like(pre), torch.empty(len(pre), dtype=torch.int64)
    fired = torch.zeros(pre.shape[1], dtype=torch.bool)
    zero = z.numpy().dtype.type(0)  # keeps loops to this type
    spread(_jump, len(pre), *_arrays(pre, theta, z, counts, fired), zero)
    return z, counts, fired


def jump_backward(
    pre: Tensor, theta: Tensor, grad: Tensor, more: Tensor, width: float
) -> tuple[Tensor, Tensor]:
    out, sums = torch.empty_like(pre), torch.empty(len(theta), dtype=torch.float64)
    kind = out.numpy().dtype.type
    arrays = _arrays(pre, theta, grad, more, out, sums)
    spread(_jump_backward, len(theta), *arrays, kind(width / 2), kind(0))
    return out, (sums / -width).to(theta.dtype)


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
    if weight.dim() != 2:
        return plain.adam(
            weight, grad, mean, square, rate=rate, step=step, scale=scale, unit_rows=unit_rows
        )
    arrays = [t.detach() for t in (weight, grad, mean, square)]
    if arrays[0].stride(0) < arrays[0].stride(1):
        arrays = [t.T for t in arrays]
    if not all(t.is_contiguous() for t in (arrays[0], *arrays[2:])):
        raise ValueError("a weight and its moments must have the same layout in memory, row by row")
    kind = weight.detach().numpy().dtype.type
    first, second = 1 - plain.BETAS[0] ** step, 1 - plain.BETAS[1] ** step
    betas = (1 - plain.BETAS[0], plain.BETAS[1], 1 - plain.BETAS[1])
    # Keep to the weights' type: a single float64 would turn the whole loop into one of float64.
    numbers = [kind(v) for v in (*betas, plain.EPSILON, rate / first, second**-0.5, scale)]
    spread(_adam, len(arrays[0]), *_arrays(*arrays), *numbers, unit_rows)


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [t.detach().contiguous().numpy() for t in tensors]


@compiled()
def _count_above(start, stop, pre, bounds, counts):
    for i in range(start, stop):
        row, count = pre[i], 0
        for q in range(len(row)):
            count += int(row[q] > bounds[q])
        counts[i] = count


@compiled()
def _above(start, stop, pre, bounds, starts, columns, values):
    for i in range(start, stop):
        row, s = pre[i], starts[i]
        for q in range(len(row)):
            if row[q] > bounds[q]:
                columns[s], values[s] = q, row[q]
                s += 1


@reordered
def _decode(start, stop, starts, latents, values, weight, out):
    for i in range(start, stop):
        row = out[i]
        row[:] = 0
        for s in range(starts[i], starts[i + 1]):
            source, value = weight[latents[s]], values[s]
            for q in range(len(row)):
                row[q] += value * source[q]


@reordered
def _reconstruct(start, stop, starts, latents, values, weight, bias, u, residual, sums, products):
    for i in range(start, stop):
        row, left = u[i], residual[i]
        for q in range(len(row)):
            left[q] = row[q] - bias[q]
        for s in range(starts[i], starts[i + 1]):
            source, value = weight[latents[s]], values[s]
            for q in range(len(row)):
                left[q] -= value * source[q]
        total = row[0] - row[0]
        for q in range(len(row)):
            total += left[q] * left[q]
        sums[i] = total
        # Now, while this vector's rows of the weight are still in the core's cache.
        for s in range(starts[i], starts[i + 1]):
            source, product = weight[latents[s]], row[0] - row[0]
            for q in range(len(row)):
                product += left[q] * source[q]
            products[s] = product


@compiled()
def _by_latent(starts, latents, n):
    firsts = np.zeros(n + 1, np.int64)
    for latent in latents:
        firsts[latent + 1] += 1
    for j in range(n):
        firsts[j + 1] += firsts[j]
    free = firsts[:-1].copy()
    entries, vectors = np.empty(len(latents), np.int64), np.empty(len(latents), np.int64)
    for i in range(len(starts) - 1):
        for s in range(starts[i], starts[i + 1]):
            place = free[latents[s]]
            free[latents[s]] += 1
            entries[place], vectors[place] = s, i
    return firsts, entries, vectors


@reordered
def _sum_by_latent(start, stop, firsts, entries, vectors, weights, rows, out):
    for j in range(start, stop):
        total = out[j]
        total[:] = 0
        for p in range(firsts[j], firsts[j + 1]):
            row, weight = rows[vectors[p]], weights[entries[p]]
            for q in range(len(total)):
                total[q] += weight * row[q]


@reordered
def _squared_error(start, stop, u, reconstruction, residual, sums):
    for i in range(start, stop):
        row, other, out = u[i], reconstruction[i], residual[i]
        total = row[0] - row[0]
        for q in range(len(row)):
            out[q] = row[q] - other[q]
            total += out[q] * out[q]
        sums[i] = total


@reordered
def _rectify(start, stop, pre, sums, counts, fired):
    for i in range(start, stop):
        row = pre[i]
        total, count = row[0] - row[0], 0
        for q in range(len(row)):
            row[q] = max(row[q], total * 0)
        for q in range(len(row)):
            total += row[q]
            count += int(row[q] > 0)
            fired[q] |= row[q] > 0
        sums[i], counts[i] = total, count


@reordered
def _rectify_backward(start, stop, z, grad, more, out):
    for i in range(start, stop):
        for q in range(z.shape[1]):
            out[i, q] = (grad[i, q] + more[i]) if z[i, q] > 0 else more[i] - more[i]


@compiled()
def _jump(start, stop, pre, theta, out, counts, fired, zero):
    for i in range(start, stop):
        row, count = pre[i], 0
        for q in range(len(row)):
            on = row[q] > theta[q]
            out[i, q] = row[q] if on else zero
            count += int(on)
            fired[q] |= on
        counts[i] = count


@reordered
def _jump_backward(start, stop, pre, theta, grad, more, out, sums, half, zero):
    """For the columns from ``start``: each column is summed in the order of its rows."""
    total = np.zeros(stop - start)
    for i in range(len(pre)):
        for q in range(start, stop):
            away, given = pre[i, q] - theta[q], grad[i, q]
            out[i, q] = given if away > zero else zero
            total[q - start] += (theta[q] * given + more[i]) if abs(away) < half else zero
    sums[start:stop] = total


@reordered
def _adam(
    start,
    stop,
    weight,
    grad,
    mean,
    square,
    new_1,
    keep_2,
    new_2,
    epsilon,
    rate,
    correction,
    scale,
    unit_rows,
):
    zero = rate - rate
    for j in range(start, stop):
        w, g, m, v = weight[j], grad[j], mean[j], square[j]
        along, total = zero, zero
        if unit_rows:
            for q in range(len(w)):
                along += w[q] * g[q]
        for q in range(len(w)):
            part = (g[q] - along * w[q]) * scale
            m[q] += (part - m[q]) * new_1
            v[q] = v[q] * keep_2 + part * part * new_2
            w[q] -= rate * m[q] / (np.sqrt(v[q]) * correction + epsilon)
            total += w[q] * w[q]
        if unit_rows and total > zero:
            length = np.sqrt(total)
            for q in range(len(w)):
                w[q] /= length
