"""JumpReLU (Rajamanoharan et al. 2024, arXiv 2407.14435)."""

import math
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from saev.sae import kernels
from saev.sae.base import RESTART_SHARE, Active, Forward, Sae, mean_square, warmed_up
from saev.sae.codes import Codes, attach, few_above, reconstruct
from saev.sae.selecting import aux_terms, of_dead
from saev.sae.sums import ordered_sum
from saev.typing import typed

LEAST_START = 0.001
"""Smallest threshold that data give to start from, and a start for latents that know no other (section 4)."""


class JumpReluTerms(NamedTuple):
    """``loss = mse + c · sparsity + aux_coefficient · aux · mse``, c of the step."""

    loss: Tensor
    """What is differentiated."""
    mse: Tensor
    """Mean of (û − u)² over vectors and dimensions."""
    sparsity: Tensor
    """Mean number of active latents of a vector, or (that / l0_target − 1)², without its coefficient."""
    aux: Tensor
    """Σ‖e − ê‖² / Σ‖e‖² of the residual e = u − û, modelled by dead latents alone; 0 if none is dead."""


class _Jump(torch.autograd.Function):
    """``z = pre · H(pre − θ)``; the threshold's gradient is estimated in a window (equation 11)."""

    @staticmethod
    def forward(ctx: Any, pre: Tensor, theta: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(pre, theta)
        ctx.bandwidth = bandwidth
        return torch.where(pre > theta, pre, 0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        pre, theta = ctx.saved_tensors
        near = (pre - theta).abs() < ctx.bandwidth / 2
        grad_theta = torch.where(near, grad, 0).sum(dim=0) * (-theta / ctx.bandwidth)
        return torch.where(pre > theta, grad, 0), grad_theta, None


class _Count(torch.autograd.Function):
    """``Σ_j H(pre − θ)`` of each vector; its gradient is for the threshold alone (equation 12)."""

    @staticmethod
    def forward(ctx: Any, pre: Tensor, theta: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(pre, theta)
        ctx.bandwidth = bandwidth
        return (pre > theta).sum(dim=1).to(pre.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None]:
        pre, theta = ctx.saved_tensors
        near = (pre - theta).abs() < ctx.bandwidth / 2
        return None, torch.where(near, grad[:, None], 0).sum(dim=0) * (-1 / ctx.bandwidth), None


class _SparseJump(torch.autograd.Function):
    """`_Jump` and `_Count` of codes that hold all that is above the threshold, and all that is in its window."""

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
    """σ keeps what exceeds a threshold of each latent, ``z = pre where pre > θ, else 0`` with θ = exp(log_threshold).

    ``L = mse + c · L0`` (equation 9), or ``c (L0 / L0_target − 1)²`` (appendix F): the gradients of θ come
    from a rectangle of width ε around it, those of pre from z alone.

    Args:
        d, n_latents, generator: see `Sae`.
        sparsity: the coefficient c.
        sparsity_warmup_steps: steps over which c rises linearly from 0.
        l0_target: active latents of a vector that training aims at; None penalises every one.
        bandwidth: ε.
        initial_threshold: θ at the start; ``data`` leaves it to `start_thresholds`.
        threshold_rate: by what the learning rate of log θ is multiplied.
        aux_k, aux_coefficient: AuxK for dead latents, see `Selecting`.
    """

    architecture: ClassVar[str] = "jumprelu"
    latent_axis: ClassVar[dict[str, int]] = {**Sae.latent_axis, "log_threshold": 0}
    equation: ClassVar[str] = (
        "u = (x - norm_mean) / norm_scale; pre = W_enc^T (u - b_dec) + b_enc; "
        "z = pre where pre > exp(log_threshold), else 0; "
        "x_hat = (W_dec^T z + b_dec) * norm_scale + norm_mean"
    )
    hyperparameters: ClassVar[tuple[str, ...]] = (
        "sparsity",
        "sparsity_warmup_steps",
        "l0_target",
        "bandwidth",
        "initial_threshold",
        "threshold_rate",
        "aux_k",
        "aux_coefficient",
    )

    def __init__(
        self,
        d: int,
        n_latents: int,
        sparsity: float = 0.0,
        sparsity_warmup_steps: int = 0,
        l0_target: float | None = None,
        bandwidth: float = 0.001,
        initial_threshold: float | str = LEAST_START,
        threshold_rate: float = 1.0,
        aux_k: int = 0,
        aux_coefficient: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(d, n_latents, generator)
        self.sparsity, self.sparsity_warmup_steps = sparsity, sparsity_warmup_steps
        self.l0_target, self.bandwidth = l0_target, bandwidth
        self.aux_k, self.aux_coefficient = aux_k, aux_coefficient
        self.initial_threshold, self.threshold_rate = initial_threshold, threshold_rate
        start = LEAST_START if isinstance(initial_threshold, str) else initial_threshold
        self.log_threshold = nn.Parameter(torch.full((n_latents,), math.log(start)))

    def rate_of(self, parameter: str) -> float:
        return self.threshold_rate if parameter == "log_threshold" else 1.0

    @torch.no_grad()
    @typed
    def start_thresholds(self, x: Float[Tensor, "b d"]) -> None:
        """If they start from data, let all θ be what the ``b · l0_target`` largest of ``x`` latents exceed.

        θ moves by about the learning rate in a step, in proportion: from a start far off, a short training
        doesn't come near its target.
        """
        if self.initial_threshold != "data" or self.l0_target is None:
            return
        pre = self.preactivations(x).flatten()
        m = min(max(1, round(self.l0_target * len(x))), len(pre))
        least = pre.kthvalue(len(pre) - m + 1).values
        self.log_threshold.copy_(least.clamp_min(LEAST_START).log())

    @torch.no_grad()
    def restart(self, latents: Tensor, directions: Tensor, alive: Tensor) -> None:
        # Their thresholds shrink as their columns do, so that they fire as living ones would.
        living = self.log_threshold.exp()[alive].double().cpu().numpy()
        theta = RESTART_SHARE * float(living.mean()) if len(living) else LEAST_START
        super().restart(latents, directions, alive)
        self.log_threshold[latents] = math.log(theta)

    @typed
    def activate(self, pre: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
        return torch.where(pre > self.log_threshold.exp(), pre, 0)

    @typed
    def active(self, x: Float[Tensor, "b d"]) -> Active:
        pre = self.preactivations(x).detach()
        found = kernels.of(pre).above(pre, self.log_threshold.detach().exp())
        codes = Codes.of(found, self.n_latents)
        return Active(codes.vectors, codes.latents, codes.values)

    def loss(self, u: Tensor, step: int, dead: Tensor | None) -> Forward:
        kernel = kernels.of(u)
        pre = kernel.affine(u, self.W_enc, self.b_enc, self.b_dec)
        theta = self.log_threshold.exp()
        codes = few_above(pre, theta - self.bandwidth / 2)
        if codes is not None:
            codes = attach(codes, u, self.W_enc, self.b_enc, self.b_dec)
            z, counts = _SparseJump.apply(codes.values, theta, codes, self.bandwidth)
            mse, residual = reconstruct(codes.with_values(z), u, self.W_dec, self.b_dec)
            fired = torch.zeros(self.n_latents, dtype=torch.bool, device=u.device)
            fired[codes.latents[z.detach() > 0]] = True
        else:
            z = _Jump.apply(pre, theta, self.bandwidth)
            counts = _Count.apply(pre, theta, self.bandwidth)
            mse, residual = mean_square(u, kernel.affine(z, self.W_dec, self.b_dec))
            fired = (z.detach() > 0).any(dim=0)
        penalty = ordered_sum(counts) / len(u)
        if self.across and self.training:
            # The value of the whole batch, with the gradient of this share.
            penalty = penalty + (self.across.mean(penalty.detach().clone()) - penalty.detach())
        if self.l0_target is not None:
            penalty = (penalty / self.l0_target - 1).square()
        late = of_dead(pre, self.aux_k, dead)
        aux_loss, aux = aux_terms(self, self.aux_k, late, u, residual, dead)
        sparsity = warmed_up(self.sparsity, step, self.sparsity_warmup_steps)
        loss = mse + sparsity * penalty + self.aux_coefficient * aux_loss
        terms = JumpReluTerms(loss, mse.detach(), penalty.detach(), aux)
        return Forward(terms, residual, counts.detach().long(), fired)
