"""ReLU with an L1 penalty (Bricken et al. 2023, "Towards Monosemanticity")."""

from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from saev.sae.base import Active, Forward, Sae, mean_square, ordered_sum
from saev.typing import typed


class ReluTerms(NamedTuple):
    """``loss = mse + c · l1`` with the coefficient c of the step."""

    loss: Tensor
    """What is differentiated."""
    mse: Tensor
    """Mean of (û − u)² over vectors and dimensions."""
    l1: Tensor
    """Mean over vectors of Σ_j z_j, without its coefficient."""


class Relu(Sae):
    """σ is the ReLU; sparsity comes from a penalty on the sum of latents (rows of W_dec have norm 1).

    Args:
        d, n_latents, generator: see `Sae`.
        l1: coefficient of the penalty.
        l1_warmup_steps: steps over which the coefficient rises linearly from 0.
    """

    architecture: ClassVar[str] = "relu"
    equation: ClassVar[str] = (
        "u = (x - norm_mean) / norm_scale; z = relu(W_enc^T (u - b_dec) + b_enc); "
        "x_hat = (W_dec^T z + b_dec) * norm_scale + norm_mean"
    )
    hyperparameters: ClassVar[tuple[str, ...]] = ("l1", "l1_warmup_steps")

    def __init__(
        self,
        d: int,
        n_latents: int,
        l1: float = 0.0,
        l1_warmup_steps: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(d, n_latents, generator)
        self.l1, self.l1_warmup_steps = l1, l1_warmup_steps

    def initial_encoder_scale(self) -> float:
        # Half of n tied latents fire, and together return n / 2d of x.
        return min(1.0, self.d / self.n_latents)

    def l1_at(self, step: int) -> float:
        """Coefficient of the penalty in the step after ``step`` steps."""
        if step >= self.l1_warmup_steps:
            return self.l1
        return self.l1 * step / self.l1_warmup_steps

    @typed
    def activate(self, pre: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
        return pre.relu()

    @typed
    def active(self, x: Float[Tensor, "b d"]) -> Active:
        z = self.encode(x)
        vector, latent = z.nonzero(as_tuple=True)
        return Active(vector, latent, z[vector, latent])

    def loss(self, u: Tensor, step: int, dead: Tensor) -> Forward:
        z = torch.addmm(self.folded_bias(), u, self.W_enc).relu()
        reconstruction = torch.addmm(self.b_dec, z, self.W_dec)
        mse = mean_square(u - reconstruction)
        l1 = ordered_sum(z.sum(dim=1)) / len(u)
        fires = z.detach() > 0
        terms = ReluTerms(mse + self.l1_at(step) * l1, mse.detach(), l1.detach())
        return Forward(terms, reconstruction.detach(), fires.sum(dim=1), fires.any(dim=0))
