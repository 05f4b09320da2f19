"""TopK with an auxiliary loss (Gao et al. 2024, arXiv 2406.04093)."""

from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saev.sae.base import Active, Forward, Sae, mean_square
from saev.sae.select import largest_positive
from saev.sae.sparse import decode_sparse, select_topk
from saev.typing import typed


class TopKTerms(NamedTuple):
    """``loss = mse + aux_coefficient · aux · mse`` (the last factor a constant of the batch)."""

    loss: Tensor
    """What is differentiated."""
    mse: Tensor
    """Mean of (û − u)² over vectors and dimensions."""
    aux: Tensor
    """Σ‖e − ê‖² / Σ‖e‖² of the residual e = u − û, modelled by dead latents alone; 0 if none is dead."""


class Sparse(NamedTuple):
    """The k selected latents of each vector."""

    values: Float[Tensor, "b k"]
    """Activations, float32; zero where fewer than k fire."""
    latents: Int[Tensor, "b k"]
    """Which they are, int64."""


class TopK(Sae):
    """σ keeps the k largest pre-activations of a vector, if positive, and zeroes the rest (section 2.3).

    Dead latents learn by AuxK (appendix A.2): ``L = ‖u − û‖² + α ‖e − ê‖²``, where ê is the best that
    the ``aux_k`` most active dead latents make of the residual e.

    Args:
        d, n_latents, generator: see `Sae`.
        k: latents that may be active at once.
        aux_k: dead latents used for the residual; 0 is none.
        aux_coefficient: α.
    """

    architecture: ClassVar[str] = "topk"
    equation: ClassVar[str] = (
        "u = (x - norm_mean) / norm_scale; z = relu(topk_k(W_enc^T (u - b_dec) + b_enc)); "
        "x_hat = (W_dec^T z + b_dec) * norm_scale + norm_mean"
    )
    hyperparameters: ClassVar[tuple[str, ...]] = ("k", "aux_k", "aux_coefficient")

    def __init__(
        self,
        d: int,
        n_latents: int,
        k: int,
        aux_k: int = 0,
        aux_coefficient: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        self.k, self.aux_k, self.aux_coefficient = k, aux_k, aux_coefficient
        super().__init__(d, n_latents, generator)

    def initial_encoder_scale(self) -> float:
        # The k largest of normal pre-activations are 2 to 3, and so return up to 8k / d of x.
        return min(1.0, self.d / (8 * self.k))

    @typed
    def encode_sparse(self, x: Float[Tensor, "b d"]) -> Sparse:
        """The k selected latents of raw activations, in order of falling activation."""
        values, latents = self.preactivations(x).topk(self.k, dim=1)
        return Sparse(values.relu(), latents)

    @typed
    def activate(self, pre: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
        values, latents = pre.topk(self.k, dim=1)
        return torch.zeros_like(pre).scatter(1, latents, values.relu())

    @typed
    def active(self, x: Float[Tensor, "b d"]) -> Active:
        if x.device.type == "cpu":
            return Active(*largest_positive(self.preactivations(x).detach(), self.k))
        values, latents = self.encode_sparse(x)
        latents, order = latents.sort(dim=1)
        values = values.gather(1, order)
        vector, slot = (values > 0).nonzero(as_tuple=True)
        return Active(vector, latents[vector, slot], values[vector, slot])

    def loss(self, u: Tensor, step: int, dead: Tensor | None) -> Forward:
        bias = self.folded_bias()
        with torch.no_grad():
            pre = torch.addmm(bias, u, self.W_enc)
        values, latents = select_topk(pre, u, self.W_enc, bias, self.k)
        reconstruction = decode_sparse(values, latents, self.W_dec) + self.b_dec
        mse = mean_square(u - reconstruction)
        aux, loss = torch.zeros_like(mse), mse
        dead_latents = dead.nonzero().flatten() if self.aux_k and dead is not None else None
        if dead_latents is not None and len(dead_latents):
            residual = (u - reconstruction).detach()
            k = min(self.aux_k, len(dead_latents))
            codes = select_topk(pre, u, self.W_enc, bias, k, among=dead_latents)
            aux_mse = mean_square(residual - decode_sparse(*codes, self.W_dec))
            aux = aux_mse.detach() / mse.detach().clamp_min(torch.finfo(mse.dtype).tiny)
            loss = mse + self.aux_coefficient * aux_mse
        fires = values.detach() > 0
        fired = torch.zeros(self.n_latents, dtype=torch.bool, device=u.device)
        fired[latents[fires]] = True
        terms = TopKTerms(loss, mse.detach(), aux)
        return Forward(terms, reconstruction.detach(), fires.sum(dim=1), fired)
