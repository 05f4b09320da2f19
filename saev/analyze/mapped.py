"""Frees the memory of mapped files."""

import mmap
from typing import Any

import numpy as np


def release(array: np.ndarray) -> None:
    """If ``array`` is a view of a mapped file, drop the file's pages from this process' memory.

    They stay in the system's cache, and come back if you still read the array. Without this,
    everything ever read from open files would count as memory of this process, and grow with the
    data. Other arrays aren't affected.
    """
    base: Any = array
    while isinstance(base, np.ndarray | memoryview):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)
