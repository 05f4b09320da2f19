"""Gathering rows into float32 buffers that are used again, by several threads."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numba
import numpy as np

MAX_THREADS = 4
"""Gathering is limited by memory, which more threads don't make faster."""
ROWS_A_THREAD = 512
"""Below this, handing work to a thread costs more than it saves."""


@numba.njit(nogil=True, cache=True)
def _copy(values, indices, out):
    for i in range(len(indices)):
        out[i] = values[indices[i]]


@numba.njit(nogil=True, cache=True)
def _widen_bfloat16(values, indices, out):
    """From uint16 (n, d) to the bits of float32, (b, d) uint32."""
    for i in range(len(indices)):
        row = values[indices[i]]
        for j in range(len(row)):
            out[i, j] = np.uint32(row[j]) << np.uint32(16)


@numba.njit(nogil=True, cache=True)
def _widen_float16(values, indices, out):
    """From the bits of float16, (n, d) uint16, to the bits of float32, (b, d) uint32, exactly.

    Without a branch, so that it is vectorised: numba knows no float16 on CPUs.
    """
    for i in range(len(indices)):
        row = values[indices[i]]
        for j in range(len(row)):
            half = np.uint32(row[j])
            magnitude = np.uint32((half & np.uint32(0x7FFF)) << np.uint32(13))
            # The exponent's bias: 127 - 15. Infinities and NaN take it twice, to 255.
            twice = np.uint32(magnitude >= np.uint32(0x0F800000))
            normal = np.uint32(magnitude + (np.uint32(1) + twice) * np.uint32(112 << 23))
            subnormal = np.float32(np.int32(half & np.uint32(0x3FF))) * np.float32(2.0**-24)
            small = np.float32(subnormal).view(np.uint32)
            bits = small if magnitude < np.uint32(0x00800000) else normal
            out[i, j] = np.uint32(bits | np.uint32((half & np.uint32(0x8000)) << np.uint32(16)))


def n_threads() -> int:
    """Threads that gather: the processors that this process may use, up to ``MAX_THREADS``."""
    affinity = getattr(os, "sched_getaffinity", None)
    return min(MAX_THREADS, len(affinity(0)) if affinity else os.cpu_count() or 1)


_pool = ThreadPoolExecutor(n_threads(), thread_name_prefix="gather")


def take_rows(values: np.ndarray, indices: np.ndarray, dtype: str, out: np.ndarray) -> None:
    """Write the rows ``indices`` of ``values``, as float32, into ``out``.

    Args:
        values: (n, d) in the stored type; uint16 that holds bfloat16 when ``dtype`` says so.
        indices: (b,) int64.
        dtype: ``float16``, ``float32`` or ``bfloat16``.
        out: (b, d) float32, C-contiguous.
    """
    if len(indices) and not 0 <= indices.min() <= indices.max() < len(values):
        raise IndexError(f"an index is outside of the {len(values)} vectors")
    if dtype == "float32":
        kernel = _copy
    else:
        kernel = _widen_bfloat16 if dtype == "bfloat16" else _widen_float16
        values, out = values.view(np.uint16), out.view(np.uint32)
    n_parts = max(1, min(n_threads(), len(indices) // ROWS_A_THREAD))
    edges = [len(indices) * i // n_parts for i in range(n_parts + 1)]
    waiting = [_pool.submit(kernel, values, indices[a:b], out[a:b]) for a, b in pairwise(edges[1:])]
    kernel(values, indices[: edges[1]], out[: edges[1]])
    for future in waiting:
        future.result()


class Buffers:
    """Float32 arrays of one shape that are used again as soon as nobody else holds them.

    Whoever keeps an array, a view of it or a tensor over it keeps its content: then another array is
    made. So a loop that lets each batch go lives on two arrays, and a list of batches is valid too. Only
    a copy to a GPU that isn't waited for must be finished before its source is let go.

    Args:
        shape: of each array.
        pinned: make them in pinned memory, which a GPU reads faster.
    """

    def __init__(self, shape: tuple[int, ...], pinned: bool = False) -> None:
        self.shape, self.pinned = shape, pinned
        self.arrays: list[np.ndarray] = []

    def take(self) -> np.ndarray:
        """An array that nobody else holds; its content is undefined."""
        for i in range(len(self.arrays)):
            if sys.getrefcount(self.arrays[i]) == UNHELD:
                return self.arrays[i]
        # What is held by others isn't kept here: lists of batches would never be freed.
        self.arrays = [*self.arrays[-1:], self._made()]
        return self.arrays[-1]

    def _made(self) -> np.ndarray:
        if not self.pinned:
            return np.empty(self.shape, np.float32)
        import torch

        return torch.empty(self.shape, dtype=torch.float32, pin_memory=True).numpy()


def _unheld() -> int:
    arrays = [np.empty(1)]
    return sys.getrefcount(arrays[0])


UNHELD = _unheld()
"""References of an array that only a list holds, as Python counts them."""
