"""The nearest of the decoder's rows, by cosine, in blocks of latents."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from saev.analyze.ordered import in_order, one_thread
from saev.core.typed import typed
from saev.sae.base import unit_rows

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
    unit, to = unit_rows(rows), unit_rows(others)
    k = min(k, len(to) - (not other))
    on_cpu = rows.device.type == "cpu"

    def look(start: int) -> tuple[np.ndarray, np.ndarray]:
        block = unit[start : start + BLOCK_LATENTS]
        cosines = block @ to.T
        if not other:
            here = torch.arange(len(block), device=rows.device)
            cosines[here, start + here] = -torch.inf
        found = cosines.topk(k, dim=1)
        return found.values.cpu().numpy(), found.indices.cpu().numpy()

    with one_thread() as threads:
        starts = range(0, len(unit), BLOCK_LATENTS)
        parts = [part for _, part in in_order(look, starts, threads if on_cpu else 1)]
    cosine, latent = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Nearest(cosine, latent)


def random_rows(n: int, d: int, seed: int, draw: int = 0) -> Tensor:
    """Random directions (n, d) float32, uniform on the sphere: what nothing was learnt from."""
    rng = np.random.default_rng([seed, n, d, draw])
    drawn = np.concatenate(list(_normal(rng, n, d)))
    return unit_rows(torch.from_numpy(drawn))


def _normal(rng: np.random.Generator, n: int, d: int) -> Iterator[np.ndarray]:
    for start in range(0, n, BLOCK_LATENTS):
        shape = (min(BLOCK_LATENTS, n - start), d)
        yield rng.standard_normal(shape, dtype=np.float32)
