"""The reference: each function in plain PyTorch, for any device and type of float.

GPUs for which there are no kernels use it too. So nothing here makes a row for each entry of the
codes, of which there are b·k, and sums have a fixed order.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

AT_ONCE = 1 << 24
"""How many numbers of gathered rows there may be at a time: 64 MiB of float32."""
DENSE_DEAD = 0
"""Up to how many dead latents are computed densely by AuxK."""
BETAS, EPSILON = (0.9, 0.999), 1e-8
"""Of Adam."""


def encode(u: Tensor, weight: Tensor, bias: Tensor, centre: Tensor, out: Tensor) -> Tensor:
    """Write ``(u − centre) @ weight + bias`` into ``out``, without a gradient.

    The shapes are u (b, d), weight (d, n), bias (n,), centre (d,) and out (b, n).
    """
    return torch.addmm(_folded(bias, centre, weight), u, weight, out=out)


def affine(x: Tensor, weight: Tensor, bias: Tensor, centre: Tensor | None = None) -> Tensor:
    """``(x − centre) @ weight + bias``, with gradients for all inputs.

    The shapes are x (b, p), weight (p, q), bias (q,) and centre (p,); the result is (b, q).
    """
    return torch.addmm(bias if centre is None else _folded(bias, centre, weight), x, weight)


def _folded(bias: Tensor, centre: Tensor, weight: Tensor) -> Tensor:
    """``bias − centre @ weight``. Subtracting it from each vector would cost autograd a product."""
    return bias - centre @ weight


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
    return _where(pre, mask.view_as(pre) & (pre > 0))


def above(
    pre: Tensor, bound: Tensor, at_most: int | None = None
) -> tuple[Tensor, Tensor, Tensor] | None:
    """The elements of ``pre`` (b, n) that exceed ``bound``, () or (n,); see `largest`.

    None if there are more than ``at_most``. On a GPU, where counting would make the host wait,
    always None if ``at_most`` is given.
    """
    mask = pre > bound
    return _where(pre, mask) if at_most is None or int(mask.sum()) <= at_most else None


def _where(pre: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    rows, columns = mask.nonzero(as_tuple=True)
    return _starts(mask.sum(dim=1)), columns, pre[rows, columns]


def _ragged(values: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    positive = values > 0
    return _starts(positive.sum(dim=1)), columns[positive], values[positive]


def _starts(counts: Tensor) -> Tensor:
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def keep(
    starts: Tensor, latents: Tensor, values: Tensor, kept: Tensor, n: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The entries at which ``kept`` (m,) is true, of codes of n latents."""
    before = torch.nn.functional.pad(kept.cumsum(0), (1, 0))
    return before[starts], latents[kept], values[kept]


def joined(parts: list[tuple[Tensor, Tensor, Tensor]], n: int) -> tuple[Tensor, Tensor, Tensor]:
    """The vectors of several codes of n latents, one after the other."""
    lengths = [len(latents) for _, latents, _ in parts]
    before = [sum(lengths[:p]) for p in range(len(parts))]
    starts = [part[0][:-1] + first for part, first in zip(parts, before, strict=True)]
    last = parts[-1][0][-1:] + before[-1]
    return (
        torch.cat([*starts, last]),
        torch.cat([latents for _, latents, _ in parts]),
        torch.cat([values for _, _, values in parts]),
    )


def decode(starts: Tensor, latents: Tensor, values: Tensor, weight: Tensor) -> Tensor:
    """``out[i] = Σ_s values[s] · weight[latents[s]]`` over the entries s of vector i: (b, d)."""
    return embedding_bag(
        latents, weight, starts, mode="sum", per_sample_weights=values, include_last_offset=True
    )


def reconstruct(
    starts: Tensor, latents: Tensor, values: Tensor, weight: Tensor, bias: Tensor, u: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The residual of codes of ``u`` (b, d), and the products that its gradient needs.

    Args:
        starts, latents, values: codes of the b vectors; weight: (n, d); bias: (d,).

    Returns:
        ``u − decode(…) − bias`` (b, d); the sum of squares of each of its rows (b,); and
        ``⟨residual[i], weight[latents[s]]⟩`` for each entry s of each vector i (m,).
    """
    residual = u - bias - decode(starts, latents, values, weight)
    rows, products = _rows(starts), torch.empty_like(values)
    size = max(1, AT_ONCE // weight.shape[1])
    for first in range(0, len(rows), size):
        here = slice(first, first + size)
        products[here] = (residual[rows[here]] * weight[latents[here]]).sum(dim=1)
    return residual, residual.square().sum(dim=1), products


def by_latent(starts: Tensor, latents: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """The entries in order of latent, then vector.

    Returns:
        starts (n + 1,), entries (m,) and their vectors (m,), int64.
    """
    entries = latents.sort(stable=True).indices
    return _starts(latents.bincount(minlength=n)), entries, _rows(starts)[entries]


def sum_by_latent(order: tuple[Tensor, Tensor, Tensor], weights: Tensor, rows: Tensor) -> Tensor:
    """``out[j] = Σ weights[s] · rows[i]`` over the entries s of latent j; i is the vector of s.

    Args:
        order: what `by_latent` returns, of n latents.
        weights: (m,).
        rows: (b, d).

    Returns:
        (n, d).
    """
    starts, entries, vectors = order
    return decode(starts, vectors, weights[entries], rows)


def squared_error(u: Tensor, reconstruction: Tensor) -> tuple[Tensor, Tensor]:
    """``u − reconstruction`` (b, d), and each row's sum of squares (b,)."""
    residual = u - reconstruction
    return residual, residual.square().sum(dim=1)


def rectify(pre: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Set all elements of ``pre`` (b, n) that aren't positive to 0, in place.

    Returns:
        the sum (b,) and the number (b,) int64 of each row's positive elements; and which columns
        have any (n,) bool.
    """
    pre.relu_()
    fires = pre > 0
    return pre.sum(dim=1), fires.sum(dim=1), fires.any(dim=0)


def rectify_backward(z: Tensor, grad: Tensor, more: Tensor) -> Tensor:
    """``grad + more[:, None]`` where ``z`` is positive, else 0. All are (b, n), ``more`` is
    (b,)."""
    return torch.where(z > 0, grad + more[:, None], 0)


def jump(pre: Tensor, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What of ``pre`` (b, n) is above its column's ``theta`` (n,), else 0.

    Returns:
        that (b, n); how many of each row are above (b,) int64; which columns have any (n,) bool.
    """
    on = pre > theta
    return torch.where(on, pre, 0), on.sum(dim=1), on.any(dim=0)


def jump_backward(
    pre: Tensor, theta: Tensor, grad: Tensor, more: Tensor, width: float
) -> tuple[Tensor, Tensor]:
    """Gradients of `jump` for ``pre`` and for ``theta``.

    That of ``theta`` is ``−Σ_i (theta · grad + more) / width`` over rows i less than ``width / 2``
    from it.

    Args:
        pre, theta: as for `jump`.
        grad: (b, n), of the first result; more: (b,), of the counts.
        width: of the window around ``theta``.
    """
    near = (pre - theta).abs() < width / 2
    for_theta = torch.where(near, theta * grad + more[:, None], 0).sum(dim=0) / -width
    return torch.where(pre > theta, grad, 0), for_theta


def adam(
    weight: Tensor,
    grad: Tensor,
    mean: Tensor,
    square: Tensor,
    *,
    rate: float,
    step: int,
    scale: float | Tensor,
    unit_rows: bool,
) -> None:
    """A step of Adam (Kingma and Ba 2014, arXiv 1412.6980, algorithm 1), in place.

    Args:
        weight: changed in place; grad: its gradient.
        mean, square: Adam's moments, changed in place.
        rate: learning rate.
        step: number of this step, from 1.
        scale: the gradient is multiplied by it.
        unit_rows: remove the part of the gradient that is parallel to each row of ``weight`` (n,
            d), and scale the rows to norm 1 afterwards.
    """
    if unit_rows:
        grad = grad - (grad * weight).sum(dim=1, keepdim=True) * weight
    grad = grad * scale
    mean.lerp_(grad, 1 - BETAS[0])
    square.mul_(BETAS[1]).addcmul_(grad, grad, value=1 - BETAS[1])
    first, second = 1 - BETAS[0] ** step, 1 - BETAS[1] ** step
    weight.addcdiv_(mean, (square_root(square) * second**-0.5).add_(EPSILON), value=-rate / first)
    if unit_rows:
        weight.div_(weight.norm(dim=1, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny))


def square_root(x: Tensor) -> Tensor:
    """√x, correctly rounded.

    PyTorch's own on a CPU is MKL's, which is off in the last bit, at other places on processors of
    another maker.
    """
    if not x.is_cpu or x.dtype not in (torch.float32, torch.float64):
        return x.sqrt()
    return torch.from_numpy(np.asarray(np.sqrt(x.detach().numpy())))


def _rows(starts: Tensor) -> Tensor:
    return torch.repeat_interleave(starts.diff())
