"""What dictionaries share that select their active latents: sparse steps, and AuxK for dead latents."""

from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from saev.sae import kernels
from saev.sae.base import Active, Forward, Sae
from saev.sae.codes import Codes, attach, reconstruct
from saev.sae.sums import ordered_sum
from saev.typing import typed


class SelectingTerms(NamedTuple):
    """``loss = mse + aux_coefficient · aux · mse`` (the last factor a constant of the batch)."""

    loss: Tensor
    """What is differentiated."""
    mse: Tensor
    """Mean of (û − u)² over vectors and dimensions."""
    aux: Tensor
    """Σ‖e − ê‖² / Σ‖e‖² of the residual e = u − û, modelled by dead latents alone; 0 if none is dead."""


class Selecting(Sae):
    """σ keeps some of the pre-activations as they are and zeroes the rest.

    Dead latents learn by AuxK (Gao et al. 2024, arXiv 2406.04093, appendix A.2):
    ``L = ‖u − û‖² + α ‖e − ê‖²``, where ê is the best that the ``aux_k`` most active dead latents make of
    the residual e.

    Args:
        d, n_latents, generator: see `Sae`.
        k: latents of a vector that may be active, or are on average.
        aux_k: dead latents used for the residual; 0 is none.
        aux_coefficient: α.
    """

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
        self.workspace = torch.empty(0)

    def initial_encoder_scale(self) -> float:
        # The k largest of normal pre-activations are 2 to 3, and return up to 10k / d of x at scale 1. Columns
        # are shorter still, as Adam's steps don't depend on their length and so turn short ones faster.
        return min(1.0, self.d / (10 * self.k)) / 5

    def select(self, pre: Tensor) -> Codes:
        """σ of pre-activations (b, n), as codes without a gradient; never depends on other vectors."""
        raise NotImplementedError

    def select_in_training(self, pre: Tensor, step: int) -> Codes:
        """What a training step takes for σ, where that differs."""
        return self.select(pre)

    @typed
    def activate(self, pre: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
        codes = self.select(pre.detach()).compact()
        z = torch.zeros_like(pre)
        z[codes.vectors, codes.latents] = pre[codes.vectors, codes.latents]
        return z

    @typed
    def active(self, x: Float[Tensor, "b d"]) -> Active:
        codes = self.select(self.preactivations(x).detach()).compact()
        return Active(codes.vectors, codes.latents, codes.values)

    def preactivations_in_place(self, u: Tensor) -> Tensor:
        """Pre-activations (b, n) of ``u`` (b, d), in memory that the next call overwrites."""
        size, alike = len(u) * self.n_latents, (u.dtype, u.device)
        if (self.workspace.dtype, self.workspace.device) != alike or len(self.workspace) < size:
            self.workspace = u.new_empty(size)
        out = self.workspace[:size].view(len(u), self.n_latents)
        return kernels.of(u).encode(u, self.W_enc, self.b_enc, self.b_dec, out)

    def attached(self, codes: Codes, u: Tensor) -> Codes:
        """Codes selected of ``u`` (b, d), with the gradient of their pre-activations."""
        return attach(codes, u, self.W_enc, self.b_enc, self.b_dec)

    def loss(self, u: Tensor, step: int, dead: Tensor | None) -> Forward:
        with torch.no_grad():
            pre = self.preactivations_in_place(u)
            selected = self.select_in_training(pre, step) if self.training else self.select(pre)
        codes = self.attached(selected, u)
        mse, residual = reconstruct(codes, u, self.dictionary(), self.b_dec)
        late = of_dead(pre, self.aux_k, dead)
        aux_loss, aux = aux_terms(self, self.aux_k, late, u, residual, dead)
        terms = SelectingTerms(mse + self.aux_coefficient * aux_loss, mse.detach(), aux)
        return Forward(terms, residual, codes.n_active, codes.fired())


def of_dead(pre: Tensor, aux_k: int, dead: Tensor | None) -> Tensor | None:
    """The columns of ``pre`` (b, n) that AuxK looks at, a copy without gradients; None if it has nothing to do."""
    return pre.detach()[:, dead] if aux_k and dead is not None and len(dead) else None


def aux_terms(
    sae: Sae,
    aux_k: int,
    pre: Tensor | None,
    u: Tensor,
    residual: Tensor,
    dead: Tensor | None,
    lifted: bool = False,
) -> tuple[Tensor, Tensor]:
    """``mean (e − ê)²`` of the residual e, and the same as a share of ``mean e²``, without a gradient.

    Args:
        sae: the dictionary.
        aux_k: dead latents of a vector that make ê.
        pre: (b, m) pre-activations of the dead latents, from `of_dead`.
        u: (b, d), what was reconstructed; residual: (b, d) e, without gradients.
        dead: (m,) int64.
        lifted: let dead latents count by ``ELU(pre) + 1``, which is positive, with a gradient, everywhere.

    Returns:
        both 0 if nothing is dead.
    """
    if pre is None or dead is None:
        zero = torch.zeros((), dtype=u.dtype, device=u.device)
        return zero, zero
    taken = nn.functional.elu(pre) + 1 if lifted else pre
    starts, columns, values = kernels.of(pre).largest(taken, min(aux_k, len(dead)))
    # On a GPU there may be room behind the last entry, whose column is one past the end.
    known = torch.cat([dead, dead.new_full((1,), sae.n_latents)])
    codes = Codes(starts, known[columns], values, sae.n_latents)
    codes = attach(codes, u, sae.W_enc, sae.b_enc, sae.b_dec)
    if lifted:
        slope = values.clamp_max(1)
        codes = codes.with_values(values + slope * (codes.values - values))
    aux_mse, _ = reconstruct(codes, residual, sae.dictionary(), torch.zeros_like(sae.b_dec))
    whole = ordered_sum(residual.square().sum(dim=1)) / residual.numel()
    return aux_mse, aux_mse.detach() / whole.clamp_min(torch.finfo(u.dtype).tiny)
