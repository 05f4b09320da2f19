"""The largest of all latents, if they are divided among processes."""

import torch
from torch import Tensor

from saev.sae.codes import Codes
from saev.sae.divided import Across

DIGIT = 4
"""How many bits of a bound are found at a time."""


def largest_of_vectors(codes: Codes, k: int, across: Across | None) -> Codes:
    """Of codes with at least the k largest of each vector in each process: the k largest of all."""
    if across is None:
        return codes
    b, entries = codes.n_vectors, torch.arange(len(codes.latents), device=codes.latents.device)
    # Unused space after the last entry belongs to a vector of its own, which keeps nothing.
    vectors = torch.searchsorted(codes.starts[1:].contiguous(), entries, right=True)
    columns = (entries - codes.starts[vectors]).clamp_max(k - 1)
    table = codes.values.new_zeros(b + 1, k)
    table[vectors, columns] = codes.values
    table[b] = 0
    return codes.where(_among_largest(table, k, across)[vectors, columns])


def largest_of_batch(codes: Codes, m: int, across: Across | None) -> Codes:
    """Of codes with at least the m largest of the batch in each process: the m largest of all."""
    if across is None:
        return codes
    return codes.where(_among_largest(codes.values[None], m, across)[0])


def _among_largest(values: Tensor, k: int, across: Across) -> Tensor:
    """Which of the ``values`` (r, v) are positive and among the k largest of their row in all
    processes, as bool.

    Of equal values, those of the first process count first, then those of the first column.

    Numbers of at least 0 have the order of their bits, so the k-th largest is found digit by digit.
    For each digit, the processes sum counts, which is less than exchanging k values a row.
    """
    width = values.element_size() * 8
    bits = values.contiguous().view({32: torch.int32, 64: torch.int64}[width])
    order, least = bits.sort(dim=1).values, bits.new_zeros(len(bits), 1)
    for shift in reversed(range(0, width - 1, DIGIT)):
        n_digits = 1 << min(DIGIT, width - 1 - shift)
        tried = least + (torch.arange(1, n_digits, device=bits.device, dtype=bits.dtype) << shift)
        below = torch.searchsorted(order, tried, out_int32=True)
        count = across.sum(bits.shape[1] - below)
        least += (count >= k).sum(dim=1, keepdim=True).to(bits.dtype) << shift
    above, equal = bits > least, (bits == least) & (bits > 0)
    ties = equal.new_zeros(across.size, len(bits), dtype=torch.int64)
    ties[across.rank] = equal.sum(dim=1)
    before = across.sum(ties)[: across.rank].sum(dim=0)
    room = k - across.sum(above.sum(dim=1)) - before
    return above | equal & (equal.cumsum(dim=1) <= room[:, None])
