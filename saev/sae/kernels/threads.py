"""Spreads the rows of a compiled loop over several threads."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import torch

PARTS = 4
"""Parts per thread: more than one, because some rows take longer than others."""


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), "saev-kernels")


def spread(loop: Callable[..., None], n: int, *given: Any) -> None:
    """Call ``loop(start, stop, *given)`` on parts of the ``n`` rows, in as many threads as PyTorch
    has.

    Args:
        loop: compiled, and releases the interpreter's lock. The result of a row must not depend on
            other rows.
    """
    threads = min(torch.get_num_threads(), n)
    if threads <= 1:
        loop(0, n, *given)
        return
    parts = min(PARTS * threads, n)
    bounds = pairwise(n * i // parts for i in range(parts + 1))
    waiting = [_pool(os.getpid()).submit(loop, start, stop, *given) for start, stop in bounds]
    for part in waiting:
        part.result()
