"""Latents divided among processes. Each computes with its own latents, and all see the whole batch.

What is a sum over latents (a reconstruction, a count, a penalty) is summed over the processes. So
the loss is the same in all of them, and gradients of own latents need no exchange. This is tensor
parallelism (Shoeybi et al. 2019, Megatron-LM, arXiv 1909.08053, section 3) across a dictionary.

Of n latents and p processes, process r has the latents r, r + p, r + 2p, …: so each has its share
of every prefix, too.
"""

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Across(Protocol):
    """How processes that divide latents compute together. All of them must call the same."""

    rank: int
    """The number of this process, from 0."""
    size: int
    """How many there are."""

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum over the processes, in place."""

    def least(self, number: Tensor) -> Tensor:
        """The smallest over the processes."""


def own(width: int, across: Across | None) -> int:
    """How many of the first ``width`` latents this process has."""
    return width if across is None else -(-(width - across.rank) // across.size)


def part_of(whole: Tensor, axis: int, across: Across) -> Tensor:
    """A copy of what belongs to the latents of this process, in the layout that ``whole`` has."""
    return whole.movedim(axis, 0)[across.rank :: across.size].contiguous().movedim(0, axis)


class _Sum(torch.autograd.Function):
    """Sum over the processes. As all have the same loss, each part gets the sum's gradient."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, across: Across) -> Tensor:
        return across.sum(part.clone())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


def summed(part: Tensor, across: Across | None) -> Tensor:
    """``part`` of any shape, summed over the processes."""
    return part if across is None else _Sum.apply(part, across)


def once(shared: Tensor, across: Across | None) -> Tensor:
    """A term that all processes share, in one of them, and 0 in the others: for sums over all."""
    return shared if across is None or across.rank == 0 else torch.zeros_like(shared)
