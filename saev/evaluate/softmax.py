"""Multinomial logistic regression, with its penalty chosen on a validation split."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

PENALTIES = (1e-3, 1e-1, 1e1, 1e3)
"""λ, tried in this order; the first of the best is taken."""
VALIDATION = 0.2
"""Share of the training images that choose λ."""
ITERATIONS = 500


class Probe(NamedTuple):
    """A linear probe of vectors that are brought to mean 0 and standard deviation 1."""

    mean: Tensor
    """(e,) float64."""
    std: Tensor
    """(e,) float64."""
    weights: Tensor
    """(e + 1, C) float64, the intercepts last."""
    penalty: float
    """The λ that was chosen."""

    def logits(self, x: Tensor) -> Tensor:
        """Logits (b, C) float64 of vectors (b, e)."""
        u = (x.double() - self.mean) / self.std
        return u @ self.weights[:-1] + self.weights[-1]

    def losses(self, x: Tensor, codes: Tensor) -> np.ndarray:
        """Cross entropy of each vector in nats: (b,) float64."""
        found: np.ndarray = torch.nn.functional.cross_entropy(
            self.logits(x), codes, reduction="none"
        ).numpy()
        return found


def fit(x: Tensor, codes: Tensor, n_classes: int, seed: int) -> Probe:
    """Fit a probe; choose λ by the cross entropy of a fifth of the images, then fit on all.

    Args:
        x: (b, e) float64; codes: (b,) int64, 0 to C − 1.
        seed: of the validation split.
    """
    order = np.random.default_rng([seed, len(x)]).permutation(len(x))
    n = max(1, round(VALIDATION * len(x)))
    validation, training = (torch.from_numpy(np.sort(part)) for part in (order[:n], order[n:]))
    tried = [_fit(x[training], codes[training], n_classes, penalty) for penalty in PENALTIES]
    losses = [probe.losses(x[validation], codes[validation]).mean() for probe in tried]
    return _fit(x, codes, n_classes, PENALTIES[int(np.argmin(losses))])


def _fit(x: Tensor, codes: Tensor, n_classes: int, penalty: float) -> Probe:
    """Minimise Σ cross entropy + λ/2 ‖w‖²: scikit-learn's `LogisticRegression(C=1/λ)`."""
    mean, std = x.mean(0), x.std(0, correction=0)
    std = torch.where(std > 0, std, torch.ones_like(std))
    u = torch.cat([(x - mean) / std, x.new_ones(len(x), 1)], dim=1)
    weights = torch.zeros(u.shape[1], n_classes, dtype=x.dtype, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weights],
        max_iter=ITERATIONS,
        tolerance_grad=1e-9,
        tolerance_change=1e-12,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(u @ weights, codes, reduction="sum")
        loss = (loss + penalty / 2 * weights[:-1].square().sum()) / len(x)
        loss.backward()
        return loss

    optimiser.step(closure)
    return Probe(mean, std, weights.detach(), penalty)
