"""The reference: each function in plain PyTorch, for any device and type of float."""

import torch
from torch import Tensor


def largest(pre: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """The k largest elements of each row that are positive.

    Args:
        pre: (b, n).
        k: at most n.

    Returns:
        starts (b + 1,) int64; columns (m,) int64, ascending in each row; values (m,).
    """
    values, columns = pre.topk(k, dim=1)
    columns, order = columns.sort(dim=1)
    return _ragged(values.gather(1, order), columns)


def largest_of_all(pre: Tensor, m: int) -> tuple[Tensor, Tensor, Tensor]:
    """The m largest elements of the whole matrix that are positive; see `largest`."""
    found = pre.flatten().topk(m).indices
    mask = torch.zeros(pre.numel(), dtype=torch.bool, device=pre.device)
    mask[found] = True
    return where(pre, mask.view_as(pre) & (pre > 0))


def where(pre: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The elements of ``pre`` (b, n) at which ``mask`` (b, n) is true; see `largest`."""
    rows, columns = mask.nonzero(as_tuple=True)
    return _starts(mask.sum(dim=1)), columns, pre[rows, columns]


def _ragged(values: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    positive = values > 0
    return _starts(positive.sum(dim=1)), columns[positive], values[positive]


def _starts(counts: Tensor) -> Tensor:
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def decode(starts: Tensor, latents: Tensor, values: Tensor, weight: Tensor) -> Tensor:
    """``out[i] = Σ_s values[s] · weight[latents[s]]`` over the entries s of vector i: (b, d)."""
    rows = _rows(starts)
    out = weight.new_zeros(len(starts) - 1, weight.shape[1])
    return out.index_add_(0, rows, values[:, None] * weight[latents])


def products(starts: Tensor, latents: Tensor, weight: Tensor, rows: Tensor) -> Tensor:
    """``⟨rows[i], weight[latents[s]]⟩`` of each entry s of each vector i: (m,)."""
    return (rows[_rows(starts)] * weight[latents]).sum(dim=1)


def by_latent(starts: Tensor, latents: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """The entries in order of latent, then vector.

    Returns:
        starts (n + 1,), entries (m,) and their vectors (m,), int64.
    """
    entries = latents.sort(stable=True).indices
    return _starts(latents.bincount(minlength=n)), entries, _rows(starts)[entries]


def sum_by_latent(order: tuple[Tensor, Tensor, Tensor], weights: Tensor, rows: Tensor) -> Tensor:
    """``out[j] = Σ weights[s] · rows[i]`` over the entries s of latent j, of vectors i, in their order.

    Args:
        order: what `by_latent` returns, of n latents.
        weights: (m,).
        rows: (b, d).

    Returns:
        (n, d).
    """
    starts, entries, vectors = order
    out = rows.new_zeros(len(starts) - 1, rows.shape[1])
    return out.index_add_(0, _rows(starts), weights[entries, None] * rows[vectors])


def _rows(starts: Tensor) -> Tensor:
    return torch.repeat_interleave(starts.diff())
