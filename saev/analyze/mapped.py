"""Maps files into memory, and frees this memory."""

import mmap
from pathlib import Path
from typing import Any

import numpy as np


def mapped(path: Path) -> np.ndarray:
    """The array of an `.npy` file, mapped."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError:
        return np.load(path, allow_pickle=False)  # an empty array can't be mapped


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
