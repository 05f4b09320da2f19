"""Computes batches in threads.

One thread computes a whole batch, so their number changes no byte.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

_setting = Lock()


@contextmanager
def one_thread() -> Iterator[int]:
    """Compute each product with a single thread. Yield how many threads PyTorch used before."""
    threads = torch.get_num_threads()
    _compute_with(1)
    try:
        yield threads
    finally:
        _compute_with(threads)


def _compute_with(n: int) -> None:
    """Let PyTorch compute with ``n`` threads in this thread only.

    PyTorch keeps this number for each thread. But a new thread starts with the number that was set
    last, so that one is restored.
    """
    with _setting, ThreadPoolExecutor(1) as newborn:
        torch.get_num_threads()  # a new thread takes its number at its first call
        others = newborn.submit(torch.get_num_threads).result()
        torch.set_num_threads(n)
        newborn.submit(torch.set_num_threads, others).result()


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Iterator[tuple[Item, Result]]:
    """Yield ``(item, work(item))`` in the order of ``items``.

    Several threads work, one on each item.

    At most ``threads + 1`` items are taken in advance, so memory is bounded.
    """
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    with ThreadPoolExecutor(threads, initializer=_compute_with, initargs=(1,)) as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(work, item)))
                if len(waiting) > threads + 1:
                    done, future = waiting.popleft()
                    yield done, future.result()
            while waiting:
                done, future = waiting.popleft()
                yield done, future.result()
        finally:
            for _, future in waiting:
                future.cancel()
