"""Computes on blocks of rows, so that memory is bounded and threads change no byte."""

from collections.abc import Callable, Iterator
from typing import TypeVar

from torch import Tensor

from saev.analyze.ordered import in_order, one_thread

Made = TypeVar("Made")


def over_blocks(
    work: Callable[[Tensor], Made], rows: Tensor, size: int, device: str
) -> Iterator[tuple[Tensor, Made]]:
    """Each block of ``rows`` (m, d), and what ``work`` makes of it, in order.

    One thread computes a block, several at once.

    Args:
        size: rows of a block; device: type of the one that computes.
    """
    with one_thread() as threads:
        blocks = (rows[start : start + size] for start in range(0, len(rows), size))
        yield from in_order(work, blocks, threads if device == "cpu" else 1)
