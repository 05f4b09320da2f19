"""ReLU with an L1 penalty (Bricken et al. 2023, "Towards Monosemanticity").

It has two options of the first dictionaries for vision models (2024): the error over the norm, and
ghost gradients (Jermyn and Templeton, "Ghost Grads", Transformer Circuits, January 2024).
"""

from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from saev.core.typed import typed
from saev.sae import kernels
from saev.sae.base import EVEN, Forward, Sae, mean_square, warmed_up
from saev.sae.codes import Codes, attach, few_above, reconstruct, reconstruct_dense
from saev.sae.divided import summed
from saev.sae.selecting import aux_terms, of_dead
from saev.sae.sums import ordered_sum
from saev.settings.sae import ReluSettings

TINY = 1e-12
"""Norms and errors are raised to at least this before something is divided by them."""


class ReluTerms(NamedTuple):
    """``loss = error + c · l1 + aux_coefficient · aux · mse + (error / ghost) · ghost``.

    c is the step's. ``mse`` and ``error / ghost`` are constants without a gradient here.
    """

    loss: Tensor
    """What is differentiated."""
    mse: Tensor
    """Mean of (û − u)² over vectors and dimensions."""
    l1: Tensor
    """Mean over vectors of Σ_j z_j, without c."""
    error: Tensor
    """The error that is minimised: mse, or the mean of (û − u)² / ‖u‖."""
    aux: Tensor
    """Σ‖e − ê‖² / Σ‖e‖² of the residual e = u − û, modelled by dead latents alone; 0 if none is
    dead."""
    ghost: Tensor
    """Mean of (g − e)² / ‖e − ē‖, unscaled: e is the residual, g what dead latents make of it. 0 if
    none is dead."""


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
    """σ is the ReLU. A penalty on the sum of latents makes them sparse (rows of W_dec have norm 1).

    ``mse_over_norm`` divides each vector's squared error by its norm (not squared). Dead latents
    can learn from the residual in two ways: through the exponential of their pre-activations
    (``ghost_gradients``), or by AuxK (see `Selecting`). Their pre-activations are never positive,
    so AuxK uses ``ELU(pre) + 1``, which is the exponential below 0, as with ghosts.

    Args:
        settings, d, generator: see `Sae`.
    """

    settings: ReluSettings
    equation: ClassVar[str] = (
        "u = (x - norm_mean) / norm_scale; z = relu(W_enc^T (u - b_dec) + b_enc); "
        "x_hat = (W_dec^T z + b_dec) * norm_scale + norm_mean"
    )

    @typed
    def activate(self, pre: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
        return pre.relu()

    def select(self, pre: Tensor) -> Codes:
        return Codes.of(kernels.of(pre).above(pre, pre.new_zeros(())), self.n_latents)

    def loss(self, u: Tensor, step: int, dead: Tensor | None) -> Forward:
        settings = self.settings
        pre = kernels.of(u).affine(u, self.W_enc, self.b_enc, self.b_dec)
        unborn = pre[:, dead] if settings.ghost_gradients and dead is not None else None
        late = of_dead(pre, settings.aux_k, dead)
        codes = None
        if not (settings.ghost_gradients or settings.mse_over_norm):
            codes = few_above(pre, pre.new_zeros(()))
        if codes is not None:
            n_active, fired = codes.n_active, codes.fired()
            codes = attach(codes, u, self.W_enc, self.b_enc, self.b_dec)
            mse, residual = reconstruct(codes, u, self.W_dec, self.b_dec, self.across)
            error, l1 = mse, summed(ordered_sum(codes.values), self.across) / len(u)
        else:
            z, sums, n_active, fired = _Rectify.apply(pre)
            reconstruction = reconstruct_dense(z, self.W_dec, self.b_dec, self.across)
            mse, residual = mean_square(u, reconstruction)
            error = _over_norm(u - reconstruction, u) if settings.mse_over_norm else mse
            l1 = summed(ordered_sum(sums), self.across) / len(u)
        loss = error + warmed_up(settings.l1, step, settings.l1_warmup_steps) * l1
        aux_loss, aux = aux_terms(self, settings.aux_k, late, u, residual, dead, lifted=True)
        loss, ghost = loss + settings.aux_coefficient * aux_loss, torch.zeros_like(mse)
        if unborn is not None:
            ghost = self._ghost(unborn, residual, dead)
            loss = loss + (error / ghost.clamp_min(TINY)).detach() * ghost
        terms = ReluTerms(loss, mse.detach(), l1.detach(), error.detach(), aux, ghost.detach())
        return Forward(terms, residual, summed(n_active, self.across), fired)

    def _ghost(self, pre: Tensor, residual: Tensor, dead: Tensor | None) -> Tensor:
        """Distance between the residual and the dead latents' output, scaled to half its length.

        ``mean (s g − e)² / ‖e − ē‖`` with ``g = exp(pre) W_dec`` and, for each vector,
        ``s = ‖e‖ / 2‖g‖``. ē is the mean over vectors. s and ē have no gradient. docs/relu_2024.md
        says where this differs from its source.

        Args:
            pre: (b, m) pre-activations of the dead latents; residual: (b, d) e; dead: (m,) int64.
        """
        # Products of even widths don't depend on the number of threads; see `even_widths` in
        # training.
        missing = -pre.shape[1] % EVEN
        exponentials = nn.functional.pad(pre.exp(), (0, missing))
        ghost = exponentials @ nn.functional.pad(self.W_dec[dead], (0, 0, 0, missing))
        ghost = summed(ghost, self.across)
        lengths = ghost.detach().norm(dim=1, keepdim=True)
        scale = residual.norm(dim=1, keepdim=True) / (2 * lengths).clamp_min(TINY)
        return _over_norm(ghost * scale - residual, residual - residual.mean(dim=0))


def _over_norm(error: Tensor, of: Tensor) -> Tensor:
    """Mean over vectors and dimensions of ``error²`` over the vector's norm in ``of``."""
    norms = of.norm(dim=1).clamp_min(TINY)
    return ordered_sum(error.square().sum(dim=1) / norms) / error.numel()
