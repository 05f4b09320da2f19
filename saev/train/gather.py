"""Several threads gather rows into buffers, which are reused: as float32, or as they are stored.

``index_select`` of PyTorch, followed by a conversion to float32, reached 0.59 to 0.75 of the speed
(float16 rows per CPU second). So the half types have their own kernels (docs/measured.md).
"""

import math
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from saev.core.compiled import compiled

MAX_THREADS = 4
"""Memory limits the speed of gathering, and more threads don't make memory faster."""
ROWS_A_THREAD = 512
"""Below this, giving work to a thread costs more than it saves."""


def _copy(values, indices, out):
    np.take(values, indices, axis=0, out=out, mode="clip")  # any other mode makes a copy first


@compiled()
def _widen_bfloat16(values, indices, out):
    """Convert bfloat16 bits, (n, d) uint16, to float32 bits, (b, d) uint32."""
    for i in range(len(indices)):
        row = values[indices[i]]
        for j in range(len(row)):
            out[i, j] = np.uint32(row[j]) << np.uint32(16)


@compiled()
def _widen_float16(values, indices, out):
    """Convert float16 bits, (n, d) uint16, to float32 bits, (b, d) uint32, exactly.

    Works on bits, as Numba doesn't support float16 on CPUs, and without a branch, so that it
    becomes vector instructions.
    """
    for i in range(len(indices)):
        row = values[indices[i]]
        for j in range(len(row)):
            half = np.uint32(row[j])
            magnitude = np.uint32((half & np.uint32(0x7FFF)) << np.uint32(13))
            # The biases of the exponents differ by 127 - 15. Infinities and NaN add this twice,
            # which gives 255.
            twice = np.uint32(magnitude >= np.uint32(0x0F800000))
            normal = np.uint32(magnitude + (np.uint32(1) + twice) * np.uint32(112 << 23))
            subnormal = np.float32(np.int32(half & np.uint32(0x3FF))) * np.float32(2.0**-24)
            small = np.float32(subnormal).view(np.uint32)
            bits = small if magnitude < np.uint32(0x00800000) else normal
            out[i, j] = np.uint32(bits | np.uint32((half & np.uint32(0x8000)) << np.uint32(16)))


def n_threads() -> int:
    """How many threads gather: one per processor that this process may use, up to
    ``MAX_THREADS``."""
    affinity = getattr(os, "sched_getaffinity", None)
    return min(MAX_THREADS, len(affinity(0)) if affinity else os.cpu_count() or 1)


_pool = ThreadPoolExecutor(n_threads(), thread_name_prefix="gather")


def take_rows(values: np.ndarray, indices: np.ndarray, dtype: str, out: np.ndarray) -> None:
    """Write the rows ``indices`` of ``values`` into ``out``.

    Args:
        values: (n, d) in the stored type; bfloat16 is stored as uint16.
        indices: (b,) int64.
        dtype: ``float16``, ``float32`` or ``bfloat16``.
        out: (b, d) float32 or of the stored type, C-contiguous.
    """
    if len(indices) and not 0 <= indices.min() <= indices.max() < len(values):
        raise IndexError(f"an index is out of range: there are {len(values)} vectors")
    if out.dtype == values.dtype:
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
    """Arrays of one shape and type. An array is reused as soon as nothing else refers to it.

    As long as you keep an array, a view of it, or a tensor that shares its memory, its content
    stays and other arrays are used. So a loop that drops each batch needs two arrays, and a list of
    batches works too. One exception: before you drop the source of an asynchronous copy to a GPU,
    make sure that the copy has finished.

    Args:
        shape: the shape of each array.
        pinned: put the arrays into pinned memory, which a GPU reads faster.
        dtype: the type.
    """

    def __init__(
        self, shape: tuple[int, ...], pinned: bool = False, dtype: npt.DTypeLike = np.float32
    ) -> None:
        self.shape, self.pinned, self.dtype = shape, pinned, np.dtype(dtype)
        self.arrays: list[np.ndarray] = []

    def take(self) -> np.ndarray:
        """An array that nothing else refers to. Its content is undefined."""
        for i in range(len(self.arrays)):
            if sys.getrefcount(self.arrays[i]) == UNHELD:
                return self.arrays[i]
        # Keep no reference to arrays that are in use: a list of batches would never be freed.
        self.arrays = [*self.arrays[-1:], self._made()]
        return self.arrays[-1]

    def _made(self) -> np.ndarray:
        if not self.pinned:
            return np.empty(self.shape, self.dtype)
        import torch

        n_bytes = self.dtype.itemsize * math.prod(self.shape)
        held = torch.empty(n_bytes, dtype=torch.uint8, pin_memory=True)
        return held.numpy().view(self.dtype).reshape(self.shape)


def can_pin() -> bool:
    """Whether there can be pinned memory."""
    import torch

    return torch.cuda.is_available()


def _unheld() -> int:
    arrays = [np.empty(1)]
    return sys.getrefcount(arrays[0])


UNHELD = _unheld()
"""Python's reference count of an array that only a list refers to."""
