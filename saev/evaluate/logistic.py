"""Logistic regression on a few features, for many classes at once."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from saev.core.typed import typed

ITERATIONS, HALVINGS = 100, 30
TOLERANCE = 1e-10
"""Largest gradient at the end, as a share of the number of examples."""


@typed
def fit(x: Float[Tensor, "c b k"], y: Bool[Tensor, "c b"]) -> Float[Tensor, "c k1"]:
    """Weights and intercept of one logistic regression for each class, by Newton's method.

    Minimises ``Σ_i ln(1 + exp(−s_i (w·x_i + a))) + ‖w‖² / 2`` with s_i = 1 for the class and −1
    for others, which is scikit-learn's `LogisticRegression(C=1)`. A step that doesn't lower the
    loss is halved.

    Args:
        x: (c, b, k) float64, features of each class; y: (c, b), which examples belong to it.

    Returns:
        (c, k + 1) float64: w, then a.
    """
    n_classes, b, k = x.shape
    z = torch.cat([x, x.new_ones(n_classes, b, 1)], dim=2)
    penalty = torch.cat([x.new_ones(k), x.new_zeros(1)])
    target, theta = y.to(x.dtype), x.new_zeros(n_classes, k + 1)

    def loss(at: Tensor) -> Tensor:
        margin = torch.einsum("cbk,ck->cb", z, at)
        terms = torch.nn.functional.softplus(margin) - target * margin
        return terms.sum(1) + (penalty * at * at).sum(1) / 2

    now = loss(theta)
    for _ in range(ITERATIONS):
        p = torch.sigmoid(torch.einsum("cbk,ck->cb", z, theta))
        gradient = torch.einsum("cbk,cb->ck", z, p - target) + penalty * theta
        if float(gradient.abs().max()) <= TOLERANCE * b:
            break
        curvature = torch.einsum("cbk,cb,cbl->ckl", z, p * (1 - p), z) + torch.diag(penalty)
        # A class on one side of everything has hardly any curvature along its intercept.
        curvature += 1e-12 * torch.eye(k + 1, dtype=x.dtype, device=x.device)
        step = torch.linalg.solve(curvature, gradient)
        for _ in range(HALVINGS):
            tried = loss(theta - step)
            worse = ~(tried <= now)
            if not bool(worse.any()):
                break
            step = torch.where(worse[:, None], step / 2, step)
        step = torch.where((loss(theta - step) <= now)[:, None], step, torch.zeros_like(step))
        if not bool(step.any()):
            break
        theta = theta - step
        now = loss(theta)
    return theta


@typed
def margins(x: Float[Tensor, "c b k"], theta: Float[Tensor, "c k1"]) -> Float[Tensor, "c b"]:
    """w·x + a of each example: positive where the class is the likelier one."""
    return torch.einsum("cbk,ck->cb", x, theta[:, :-1]) + theta[:, -1:]
