"""Fast on a CPU: compiled loops over the same arrays, with the same results for any number of threads.

Each output row is made by one thread, in the order of its entries; see `plain` for what the functions do.
"""

import numba
import numpy as np
import torch
from torch import Tensor, from_numpy

from saev.sae.kernels import plain, select

where = plain.where

MAX_THREADS = numba.get_num_threads()
"""All that there are, before anything lowers it."""

compiled = numba.njit(
    nogil=True, cache=True, parallel=True, fastmath={"reassoc", "contract", "nsz"}
)


def threads() -> None:
    """Let compiled loops use as many threads as PyTorch does here."""
    numba.set_num_threads(max(1, min(torch.get_num_threads(), MAX_THREADS)))


def largest(pre: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    if pre.dtype != torch.float32:
        return plain.largest(pre, k)
    threads()
    return select.largest(pre, k)


def largest_of_all(pre: Tensor, m: int) -> tuple[Tensor, Tensor, Tensor]:
    if pre.dtype != torch.float32:
        return plain.largest_of_all(pre, m)
    threads()
    return select.largest_of_all(pre, m)


def decode(starts: Tensor, latents: Tensor, values: Tensor, weight: Tensor) -> Tensor:
    out = torch.empty(len(starts) - 1, weight.shape[1], dtype=weight.dtype)
    threads()
    _decode(*_arrays(starts, latents, values, weight, out))
    return out


def products(starts: Tensor, latents: Tensor, weight: Tensor, rows: Tensor) -> Tensor:
    out = torch.empty(len(latents), dtype=weight.dtype)
    threads()
    _products(*_arrays(starts, latents, weight, rows, out))
    return out


def by_latent(starts: Tensor, latents: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    first, second = _arrays(starts, latents)
    firsts, entries, vectors = _by_latent(first, second, n)
    return from_numpy(firsts), from_numpy(entries), from_numpy(vectors)


def sum_by_latent(order: tuple[Tensor, Tensor, Tensor], weights: Tensor, rows: Tensor) -> Tensor:
    out = torch.empty(len(order[0]) - 1, rows.shape[1], dtype=rows.dtype)
    threads()
    _sum_by_latent(*_arrays(*order, weights, rows, out))
    return out


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [t.detach().contiguous().numpy() for t in tensors]


@compiled
def _decode(starts, latents, values, weight, out):
    for i in numba.prange(len(out)):
        row = out[i]
        row[:] = 0
        for s in range(starts[i], starts[i + 1]):
            source, value = weight[latents[s]], values[s]
            for q in range(len(row)):
                row[q] += value * source[q]


@compiled
def _products(starts, latents, weight, rows, out):
    for i in numba.prange(len(rows)):
        row = rows[i]
        for s in range(starts[i], starts[i + 1]):
            other, total = weight[latents[s]], row[0] * 0
            for q in range(len(row)):
                total += row[q] * other[q]
            out[s] = total


@numba.njit(nogil=True, cache=True)
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


@compiled
def _sum_by_latent(firsts, entries, vectors, weights, rows, out):
    for j in numba.prange(len(out)):
        total = out[j]
        total[:] = 0
        for p in range(firsts[j], firsts[j + 1]):
            row, weight = rows[vectors[p]], weights[entries[p]]
            for q in range(len(total)):
                total[q] += weight * row[q]
