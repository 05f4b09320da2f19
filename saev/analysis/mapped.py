"""Giving back the memory of mapped files."""

import mmap
from typing import Any

import numpy as np


def release(array: np.ndarray) -> None:
    """Drop the pages of the file that ``array`` is a view of from this process' memory.

    They stay in the system's cache, and whoever still reads the array gets them back. Without this all
    that was ever read of the open files would count as memory of the process, and grow with the data.
    Nothing happens to an array that is no view of a mapped file.
    """
    base: Any = array
    while isinstance(base, np.ndarray | memoryview):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)
