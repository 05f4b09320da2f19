"""The nearest of the decoder's rows, by cosine, in blocks of latents."""

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from saev.analyze.ordered import in_order, one_thread
from saev.core.typed import typed
from saev.sae.base import unit_rows

Made = TypeVar("Made")

BLOCK_LATENTS = 256
"""Rows whose cosines are in memory at once. Constant, as the rounding of products depends on it."""


class Nearest(NamedTuple):
    """The nearest rows of another dictionary, or of the same one."""

    cosine: np.ndarray
    """(n, k) float32, falling."""
    latent: np.ndarray
    """(n, k) int64."""


@typed
def nearest(
    rows: Float[Tensor, "n d"], others: Float[Tensor, "m d"], k: int, other: bool
) -> Nearest:
    """For each row the ``k`` rows of ``others`` with the largest cosine.

    Args:
        rows: (n, d) float32; others: (m, d) float32. Neither needs norm 1.
        k: how many, at most those that there are.
        other: whether ``others`` are of another dictionary. If not, a row isn't its own neighbour.
    """
    k = min(k, len(others) - (not other))

    def largest(start: int, block: Tensor) -> tuple[np.ndarray, np.ndarray]:
        if not other:
            here = torch.arange(len(block), device=block.device)
            block[here, start + here] = -torch.inf
        found = block.topk(k, dim=1)
        return found.values.cpu().numpy(), found.indices.cpu().numpy()

    cosine, latent = zip(*_blocks(rows, others, largest), strict=True)
    return Nearest(np.concatenate(cosine), np.concatenate(latent))


@typed
def cosines(rows: Float[Tensor, "n d"], others: Float[Tensor, "m d"]) -> np.ndarray:
    """All cosines of two decoders, (n, m) float32. For dictionaries that aren't too wide."""
    return np.concatenate(list(_blocks(rows, others, lambda _, block: block.cpu().numpy())))


def _blocks(rows: Tensor, others: Tensor, use: Callable[[int, Tensor], Made]) -> Iterator[Made]:
    """What ``use`` makes of the cosines of each block of rows, given where it starts.

    One thread computes a block, several at once. So their number changes no byte.
    """
    unit, to = unit_rows(rows), unit_rows(others)

    def work(start: int) -> Made:
        return use(start, unit[start : start + BLOCK_LATENTS] @ to.T)

    with one_thread() as threads:
        starts = range(0, len(unit), BLOCK_LATENTS)
        on_cpu = rows.device.type == "cpu"
        for _, made in in_order(work, starts, threads if on_cpu else 1):
            yield made


def random_rows(n: int, d: int, seed: int, draw: int = 0) -> Tensor:
    """Random directions (n, d) float32, uniform on the sphere: what nothing was learnt from."""
    rng = np.random.default_rng([seed, n, d, draw])
    drawn = np.concatenate(list(_normal(rng, n, d)))
    return unit_rows(torch.from_numpy(drawn))


def _normal(rng: np.random.Generator, n: int, d: int) -> Iterator[np.ndarray]:
    for start in range(0, n, BLOCK_LATENTS):
        shape = (min(BLOCK_LATENTS, n - start), d)
        yield rng.standard_normal(shape, dtype=np.float32)
