"""The sums behind the figures of a training step, taken where the vectors are."""

import numpy as np
import torch
from torch import Tensor

from saev.core.metrics import CHUNK, StepSums, row_dots


@torch.no_grad()
def step_sums(u: Tensor, residual: Tensor, n_active: Tensor, centre: Tensor) -> StepSums:
    """Sums over a batch.

    Args:
        u: (b, d) normalised activations.
        residual: (b, d) what the reconstructions lack.
        n_active: (b,) number of nonzero latents of each vector.
        centre: (d,) float64, the recorded mean, normalised.
    """
    of_rows = _on_a_cpu if u.device.type == "cpu" else _on_a_gpu
    reconstruction = u - residual
    error, about = of_rows(u, reconstruction, centre)
    return StepSums(len(u), error, about, int(n_active.sum()))


def _on_a_cpu(x: Tensor, xh: Tensor, centre: Tensor) -> tuple[float, float]:
    c, total, about = centre.numpy(), 0.0, 0.0
    for start in range(0, len(x), CHUNK):
        rows, made = (t[start : start + CHUNK].numpy().astype(np.float64) for t in (x, xh))
        error, centred = rows - made, rows - c
        total += float(row_dots(error, error).sum())
        about += float(row_dots(centred, centred).sum())
    return total, about


def _on_a_gpu(x: Tensor, xh: Tensor, centre: Tensor) -> tuple[float, float]:
    total = x.new_zeros(2, dtype=torch.float64)
    for start in range(0, len(x), CHUNK):
        rows, made = (t[start : start + CHUNK].double() for t in (x, xh))
        total += torch.stack([(rows - made).square().sum(), (rows - centre).square().sum()])
    error, about = total.tolist()
    return error, about
