"""The training of the preset relu_2024 derived by hand, in float64 numpy, without saev."""

from typing import NamedTuple

import numpy as np

L1, LR, WARMUP = 8e-5, 4e-4, 500
BETAS, EPS = (0.9, 0.999), 1e-8
DEAD_EVERY = 10


class Terms(NamedTuple):
    """Scalars of one step."""

    loss: float
    mse: float
    l1: float
    error: float
    ghost: float


def terms_and_gradients(p, u, dead):
    """Loss terms and gradients by parameter, from the chain rule written out.

    Args:
        p: W_enc (d, n), b_enc (n,), W_dec (n, d), b_dec (d,); u: (b, d); dead: (n,) bool.
    """
    b, d = u.shape
    centred = u - p["b_dec"]
    pre = centred @ p["W_enc"] + p["b_enc"]
    z = np.maximum(pre, 0)
    residual = u - (z @ p["W_dec"] + p["b_dec"])
    norms = np.sqrt((u**2).sum(1, keepdims=True))
    error = (residual**2 / norms).mean()
    l1 = z.sum(1).mean()

    d_out = -2 * residual / norms / (b * d)
    d_pre = (d_out @ p["W_dec"].T + L1 / b) * (pre > 0)
    d_w_dec = z.T @ d_out
    ghost = 0.0
    if dead.any():
        active = np.exp(pre[:, dead])
        made = active @ p["W_dec"][dead]
        scale = np.sqrt((residual**2).sum(1, keepdims=True)) / (
            2 * np.sqrt((made**2).sum(1, keepdims=True))
        )
        spread = residual - residual.mean(0)
        over = np.sqrt((spread**2).sum(1, keepdims=True))
        left = made * scale - residual
        ghost = (left**2 / over).mean()
        # Residual, scale and factor are constants to the ghost loss.
        d_made = (error / ghost) * 2 * left * scale / over / (b * d)
        d_w_dec[dead] += active.T @ d_made
        d_pre[:, dead] += (d_made @ p["W_dec"][dead].T) * active
    loss = error + L1 * l1 + (error if dead.any() else 0.0)
    gradients = {
        "W_enc": centred.T @ d_pre,
        "b_enc": d_pre.sum(0),
        "W_dec": d_w_dec,
        "b_dec": d_out.sum(0) - (d_pre @ p["W_enc"].T).sum(0),
    }
    return Terms(loss, (residual**2).mean(), l1, error, ghost), gradients, z > 0


class Run:
    """Adam with warm-up, unit decoder rows, the parallel gradient removed, silence counted in
    vectors.

    Which latents are dead is looked at before every tenth step.
    """

    def __init__(self, parameters, dead_after):
        self.p = {name: value.copy() for name, value in parameters.items()}
        self.first = {name: np.zeros_like(value) for name, value in parameters.items()}
        self.second = {name: np.zeros_like(value) for name, value in parameters.items()}
        self.silent = np.zeros(len(self.p["b_enc"]), np.int64)
        self.dead = np.zeros(len(self.p["b_enc"]), bool)
        self.dead_after, self.t = dead_after, 0

    def step(self, u):
        if self.t % DEAD_EVERY == 0:
            self.dead = self.silent >= self.dead_after
        terms, gradients, fires = terms_and_gradients(self.p, u, self.dead)
        rows = self.p["W_dec"]
        gradients["W_dec"] -= (gradients["W_dec"] * rows).sum(1, keepdims=True) * rows
        self.t += 1
        rate = LR * min(1.0, self.t / WARMUP)
        for name, g in gradients.items():
            self.first[name] = BETAS[0] * self.first[name] + (1 - BETAS[0]) * g
            self.second[name] = BETAS[1] * self.second[name] + (1 - BETAS[1]) * g**2
            mean = self.first[name] / (1 - BETAS[0] ** self.t)
            square = self.second[name] / (1 - BETAS[1] ** self.t)
            self.p[name] = self.p[name] - rate * mean / (np.sqrt(square) + EPS)
        self.p["W_dec"] /= np.sqrt((self.p["W_dec"] ** 2).sum(1, keepdims=True))
        self.silent = np.where(fires.any(0), 0, self.silent + len(u))
        return terms
