"""ReLU with an L1 penalty (Bricken et al. 2023, "Towards Monosemanticity").

With the two options of the first dictionaries of vision models (2024): the error over the norm, and ghost
gradients (Jermyn and Templeton, "Ghost Grads", Transformer Circuits, January 2024).
"""

from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from saev.sae import kernels
from saev.sae.base import EVEN, Active, Forward, Sae, mean_square, warmed_up
from saev.sae.codes import Codes, attach, few_above, reconstruct
from saev.sae.selecting import aux_terms, of_dead
from saev.sae.sums import ordered_sum
from saev.typing import typed

TINY = 1e-12
"""Norms and errors are at least this where they divide."""


class ReluTerms(NamedTuple):
    """``loss = error + c · l1 + aux_coefficient · aux · mse + (error / ghost) · ghost``, c of the step, factors
    constants of the batch."""

    loss: Tensor
    """What is differentiated."""
    mse: Tensor
    """Mean of (û − u)² over vectors and dimensions."""
    l1: Tensor
    """Mean over vectors of Σ_j z_j, without its coefficient."""
    error: Tensor
    """What is minimised of the reconstruction: mse, or the mean of (û − u)² / ‖u‖."""
    aux: Tensor
    """Σ‖e − ê‖² / Σ‖e‖² of the residual e = u − û, modelled by dead latents alone; 0 if none is dead."""
    ghost: Tensor
    """Mean of (g − e)² / ‖e − ē‖, unscaled, of the residual e and what dead latents make of it; 0 if none is."""


class _Rectify(torch.autograd.Function):
    """``max(pre, 0)`` in place, each row's sum, and what fires."""

    @staticmethod
    def forward(ctx: Any, pre: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        sums, counts, fired = kernels.of(pre).rectify(pre)
        ctx.mark_dirty(pre)
        ctx.mark_non_differentiable(counts, fired)
        ctx.save_for_backward(pre)
        return pre, sums, counts, fired

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, grad_sums: Tensor, *_: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        return kernels.of(z).rectify_backward(z, grad, grad_sums)


class Relu(Sae):
    """σ is the ReLU; sparsity comes from a penalty on the sum of latents (rows of W_dec have norm 1).

    Args:
        d, n_latents, generator: see `Sae`.
        l1: coefficient of the penalty.
        l1_warmup_steps: steps over which the coefficient rises linearly from 0.
        mse_over_norm: divide each vector's squared error by its norm (not squared).
        ghost_gradients: let dead latents learn from the residual, through the exponential of their
            pre-activations.
        aux_k, aux_coefficient: AuxK for dead latents, see `Selecting`. As a dead latent's pre-activations are
            never positive here, they count by ``ELU(pre) + 1``: below 0, by their exponential, as for ghosts.
    """

    architecture: ClassVar[str] = "relu"
    equation: ClassVar[str] = (
        "u = (x - norm_mean) / norm_scale; z = relu(W_enc^T (u - b_dec) + b_enc); "
        "x_hat = (W_dec^T z + b_dec) * norm_scale + norm_mean"
    )
    hyperparameters: ClassVar[tuple[str, ...]] = (
        "l1",
        "l1_warmup_steps",
        "mse_over_norm",
        "ghost_gradients",
        "aux_k",
        "aux_coefficient",
    )

    def __init__(
        self,
        d: int,
        n_latents: int,
        l1: float = 0.0,
        l1_warmup_steps: int = 0,
        mse_over_norm: bool = False,
        ghost_gradients: bool = False,
        aux_k: int = 0,
        aux_coefficient: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(d, n_latents, generator)
        self.l1, self.l1_warmup_steps = l1, l1_warmup_steps
        self.mse_over_norm, self.ghost_gradients = mse_over_norm, ghost_gradients
        self.aux_k, self.aux_coefficient = aux_k, aux_coefficient

    @typed
    def activate(self, pre: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
        return pre.relu()

    @typed
    def active(self, x: Float[Tensor, "b d"]) -> Active:
        pre = self.preactivations(x).detach()
        codes = Codes.of(kernels.of(pre).above(pre, pre.new_zeros(())), self.n_latents)
        return Active(codes.vectors, codes.latents, codes.values)

    def loss(self, u: Tensor, step: int, dead: Tensor | None) -> Forward:
        kernel = kernels.of(u)
        pre = kernel.affine(u, self.W_enc, self.b_enc, self.b_dec)
        unborn = pre[:, dead] if self.ghost_gradients and dead is not None else None
        late = of_dead(pre, self.aux_k, dead)
        codes = None
        if not (self.ghost_gradients or self.mse_over_norm):
            codes = few_above(pre, pre.new_zeros(()))
        if codes is not None:
            n_active, fired = codes.n_active, codes.fired()
            codes = attach(codes, u, self.W_enc, self.b_enc, self.b_dec)
            mse, residual = reconstruct(codes, u, self.W_dec, self.b_dec)
            error, l1 = mse, ordered_sum(codes.values) / len(u)
        else:
            z, sums, n_active, fired = _Rectify.apply(pre)
            reconstruction = kernel.affine(z, self.W_dec, self.b_dec)
            mse, residual = mean_square(u, reconstruction)
            error = _over_norm(u - reconstruction, u) if self.mse_over_norm else mse
            l1 = ordered_sum(sums) / len(u)
        loss = error + warmed_up(self.l1, step, self.l1_warmup_steps) * l1
        aux_loss, aux = aux_terms(self, self.aux_k, late, u, residual, dead, lifted=True)
        loss, ghost = loss + self.aux_coefficient * aux_loss, torch.zeros_like(mse)
        if unborn is not None and unborn.shape[1]:
            ghost = self._ghost(unborn, residual, dead)
            loss = loss + (error / ghost.clamp_min(TINY)).detach() * ghost
        terms = ReluTerms(loss, mse.detach(), l1.detach(), error.detach(), aux, ghost.detach())
        return Forward(terms, residual, n_active, fired)

    def _ghost(self, pre: Tensor, residual: Tensor, dead: Tensor | None) -> Tensor:
        """How far the dead latents alone, scaled to half the residual's length, are from the residual.

        ``mean (s g − e)² / ‖e − ē‖`` with ``g = exp(pre) W_dec`` and ``s = ‖e‖ / 2‖g‖`` of each vector, a
        constant, as ē is, the mean over vectors (docs/relu_2024.md says where this differs from its source).

        Args:
            pre: (b, m) pre-activations of the dead latents; residual: (b, d) e; dead: (m,) int64.
        """
        # Products of even widths don't depend on the number of threads, see `even_widths` of the trainer.
        missing = -pre.shape[1] % EVEN
        exponentials = nn.functional.pad(pre.exp(), (0, missing))
        ghost = exponentials @ nn.functional.pad(self.W_dec[dead], (0, 0, 0, missing))
        lengths = ghost.detach().norm(dim=1, keepdim=True)
        scale = residual.norm(dim=1, keepdim=True) / (2 * lengths).clamp_min(TINY)
        return _over_norm(ghost * scale - residual, residual - residual.mean(dim=0))


def _over_norm(error: Tensor, of: Tensor) -> Tensor:
    """Mean over vectors and dimensions of ``error²`` over the vector's norm in ``of``."""
    norms = of.norm(dim=1).clamp_min(TINY)
    return ordered_sum(error.square().sum(dim=1) / norms) / error.numel()
