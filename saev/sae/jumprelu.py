"""JumpReLU (Rajamanoharan et al. 2024, arXiv 2407.14435)."""

import math
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from saev.core.typed import typed
from saev.sae import kernels
from saev.sae.base import RESTART_SHARE, Draw, Forward, Sae, mean_square, warmed_up
from saev.sae.codes import Codes, attach, few_above, reconstruct, reconstruct_dense
from saev.sae.divided import summed
from saev.sae.selecting import aux_terms, of_dead
from saev.sae.sums import ordered_sum
from saev.settings.sae import JumpReluSettings

LEAST_START = 0.001
"""Smallest initial threshold from data, and the one for latents that have no other (section 4)."""
THRESHOLD_ROWS = 1024
"""Largest number of training vectors that set initial thresholds. All their latents are in memory
at once."""
THRESHOLDS = 5
"""What these vectors are drawn for; see `Draw`."""


class JumpReluTerms(NamedTuple):
    """``loss = mse + c · sparsity + aux_coefficient · aux · mse``, with the step's c."""

    loss: Tensor
    """What is differentiated."""
    mse: Tensor
    """Mean of (û − u)² over vectors and dimensions."""
    sparsity: Tensor
    """L0, the mean number of active latents of a vector, or (L0 / l0_target − 1)²; without c."""
    aux: Tensor
    """Σ‖e − ê‖² / Σ‖e‖² of the residual e = u − û, modelled by dead latents alone; 0 if none is
    dead."""


class _Jump(torch.autograd.Function):
    """``z = pre · H(pre − θ)``, ``Σ_j H(pre − θ)`` for each vector, and what fires.

    θ's gradient is estimated from a window around it (equations 11 and 12). pre gets none from the
    counts.
    """

    @staticmethod
    def forward(
        ctx: Any, pre: Tensor, theta: Tensor, bandwidth: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(pre, theta)
        ctx.bandwidth = bandwidth
        z, counts, fired = kernels.of(pre).jump(pre, theta)
        ctx.mark_non_differentiable(fired)
        return z, counts.to(pre.dtype), fired

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad: Tensor, grad_counts: Tensor, _: Tensor
    ) -> tuple[Tensor, Tensor, None]:
        pre, theta = ctx.saved_tensors
        given = (pre, theta, grad, grad_counts, ctx.bandwidth)
        return *kernels.of(pre).jump_backward(*given), None


class _SparseJump(torch.autograd.Function):
    """`_Jump` for codes of all values above the threshold or in its window."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, theta: Tensor, codes: Codes, bandwidth: float
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(values, theta)
        ctx.codes, ctx.bandwidth = codes, bandwidth
        on = values > theta[codes.latents]
        before = torch.cat([codes.starts.new_zeros(1), on.cumsum(0)])
        return torch.where(on, values, 0), before[codes.starts].diff().to(values.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, grad_counts: Tensor) -> tuple[Tensor, Tensor, None, None]:
        values, theta = ctx.saved_tensors
        codes, here = ctx.codes, theta[ctx.codes.latents]
        near = (values - here).abs() < ctx.bandwidth / 2
        each = torch.where(near, (here * grad + grad_counts[codes.vectors]) / -ctx.bandwidth, 0)
        ones = grad.new_ones(codes.n_vectors, 1)
        grad_theta = kernels.of(grad).sum_by_latent(codes.order, each, ones)[:, 0]
        return torch.where(values > here, grad, 0), grad_theta, None, None


class JumpRelu(Sae):
    """Each latent has a threshold: ``z = pre where pre > θ, else 0`` with θ = exp(log_threshold).

    ``L = mse + c · L0`` (equation 9), or ``mse + c (L0 / L0_target − 1)²`` (appendix F). The
    gradient of θ comes from a rectangle of width ε around it. The gradient of pre comes from z
    alone.

    AuxK for dead latents works as in `Selecting`.

    Args:
        settings, d, generator: see `Sae`; ``sparsity`` is c, ``bandwidth`` ε.
    """

    settings: JumpReluSettings
    latent_axis: ClassVar[dict[str, int]] = {**Sae.latent_axis, "log_threshold": 0}
    equation: ClassVar[str] = (
        "u = (x - norm_mean) / norm_scale; pre = W_enc^T (u - b_dec) + b_enc; "
        "z = pre where pre > exp(log_threshold), else 0; "
        "x_hat = (W_dec^T z + b_dec) * norm_scale + norm_mean"
    )

    def __init__(
        self, settings: JumpReluSettings, d: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(settings, d, generator)
        start = settings.initial_threshold
        start = LEAST_START if start == "data" else start
        self.log_threshold = nn.Parameter(torch.full((self.n_latents,), math.log(start)))

    def rate_of(self, parameter: str) -> float:
        return self.settings.threshold_rate if parameter == "log_threshold" else 1.0

    @torch.no_grad()
    def start(self, draw: Draw) -> None:
        """Start θ from data, if so set: ``b · l0_target`` latents of b vectors exceed it.

        In a step, θ changes by about the learning rate times its value. So a short training that
        starts with a θ far off doesn't get near its target.
        """
        super().start(draw)
        target = self.settings.l0_target
        if self.settings.initial_threshold != "data" or target is None:
            return
        x = draw(THRESHOLD_ROWS, THRESHOLDS)
        pre = self.preactivations(x).flatten()
        m = min(max(1, round(target * len(x))), len(pre))
        least = pre.kthvalue(len(pre) - m + 1).values
        self.log_threshold.copy_(least.clamp_min(LEAST_START).log())

    @torch.no_grad()
    def restart(self, latents: Tensor, directions: Tensor, alive: Tensor) -> None:
        # Their columns are shorter, so shrink their thresholds alike: they fire as living ones
        # would.
        mean = self.mean_over_latents(self.log_threshold.exp()[alive])
        theta = LEAST_START if mean is None else RESTART_SHARE * mean
        super().restart(latents, directions, alive)
        self.log_threshold[latents] = math.log(theta)

    @typed
    def activate(self, pre: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
        return torch.where(pre > self.log_threshold.exp(), pre, 0)

    def select(self, pre: Tensor) -> Codes:
        found = kernels.of(pre).above(pre, self.log_threshold.detach().exp())
        return Codes.of(found, self.n_latents)

    def loss(self, u: Tensor, step: int, dead: Tensor | None) -> Forward:
        settings = self.settings
        pre = kernels.of(u).affine(u, self.W_enc, self.b_enc, self.b_dec)
        theta = self.log_threshold.exp()
        codes = few_above(pre, theta - settings.bandwidth / 2)
        if codes is not None:
            codes = attach(codes, u, self.W_enc, self.b_enc, self.b_dec)
            z, counts = _SparseJump.apply(codes.values, theta, codes, settings.bandwidth)
            codes_above = codes.with_values(z)
            mse, residual = reconstruct(codes_above, u, self.W_dec, self.b_dec, self.across)
            fired = torch.zeros(self.n_latents, dtype=torch.bool, device=u.device)
            fired[codes.latents[z.detach() > 0]] = True
        else:
            z, counts, fired = _Jump.apply(pre, theta, settings.bandwidth)
            made = reconstruct_dense(z, self.W_dec, self.b_dec, self.across)
            mse, residual = mean_square(u, made)
        counts = summed(counts, self.across)
        penalty = ordered_sum(counts) / len(u)
        if settings.l0_target is not None:
            penalty = (penalty / settings.l0_target - 1).square()
        late = of_dead(pre, settings.aux_k, dead)
        aux_loss, aux = aux_terms(self, settings.aux_k, late, u, residual, dead)
        sparsity = warmed_up(settings.sparsity, step, settings.sparsity_warmup_steps)
        loss = mse + sparsity * penalty + settings.aux_coefficient * aux_loss
        terms = JumpReluTerms(loss, mse.detach(), penalty.detach(), aux)
        return Forward(terms, residual, counts.detach().long(), fired)
