"""What dictionaries that select their active latents share: sparse steps, AuxK for dead latents."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from saev.sae import kernels
from saev.sae.base import Forward, Sae, mean_square
from saev.sae.codes import Codes, attach, reconstruct
from saev.sae.divided import summed
from saev.sae.divided_selection import largest_of_vectors
from saev.sae.sums import ordered_sum
from saev.settings.sae_base import SelectingSettings


class SelectingTerms(NamedTuple):
    """``loss = mse + aux_coefficient · aux · mse`` (the last factor a constant of the batch)."""

    loss: Tensor
    """What is differentiated."""
    mse: Tensor
    """Mean of (û − u)² over vectors and dimensions."""
    aux: Tensor
    """Σ‖e − ê‖² / Σ‖e‖² of the residual e = u − û, modelled by dead latents alone; 0 if none is
    dead."""


class Selecting(Sae):
    """σ keeps some of the pre-activations as they are and zeroes the rest.

    Dead latents learn by AuxK (Gao et al. 2024, arXiv 2406.04093, appendix A.2):
    ``L = ‖u − û‖² + α ‖e − ê‖²``. ê is what the ``aux_k`` most active dead latents reconstruct of
    the residual e.

    Args:
        settings, d, generator: see `Sae`; ``aux_coefficient`` is α.
    """

    settings: SelectingSettings

    def __init__(
        self, settings: SelectingSettings, d: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(settings, d, generator)
        self.workspace = torch.empty(0)

    def initial_encoder_scale(self) -> float:
        # At scale 1, the k largest of normal pre-activations are 2 to 3 and return up to 10k / d of
        # x. Columns start even shorter: Adam's steps don't depend on their length, so short ones
        # turn faster.
        return min(1.0, self.d / (10 * self.settings.k)) / 5

    def select_in_training(self, pre: Tensor, step: int) -> Codes:
        """The σ of a training step, for architectures where it differs."""
        return self.select(pre)

    def preactivations_in_place(self, u: Tensor) -> Tensor:
        """Pre-activations (b, n) of ``u`` (b, d), in memory that the next call overwrites."""
        size, alike = len(u) * self.n_latents, (u.dtype, u.device)
        if (self.workspace.dtype, self.workspace.device) != alike or len(self.workspace) < size:
            self.workspace = u.new_empty(size)
        out = self.workspace[:size].view(len(u), self.n_latents)
        return kernels.of(u).encode(u, self.W_enc, self.b_enc, self.b_dec, out)

    def attached(self, codes: Codes, u: Tensor) -> Codes:
        """Codes selected from ``u`` (b, d), with the gradient of their pre-activations."""
        return attach(codes, u, self.W_enc, self.b_enc, self.b_dec)

    def loss(self, u: Tensor, step: int, dead: Tensor | None) -> Forward:
        with torch.no_grad():
            pre = self.preactivations_in_place(u)
            selected = self.select_in_training(pre, step) if self.training else self.select(pre)
        codes = self.attached(selected, u)
        mse, residual = reconstruct(codes, u, self.dictionary(), self.b_dec, self.across)
        late = of_dead(pre, self.settings.aux_k, dead)
        aux_loss, aux = aux_terms(self, self.settings.aux_k, late, u, residual, dead)
        loss = mse + self.settings.aux_coefficient * aux_loss
        terms = SelectingTerms(loss, mse.detach(), aux)
        return Forward(terms, residual, summed(codes.n_active, self.across), codes.fired())


def of_dead(pre: Tensor, aux_k: int, dead: Tensor | None) -> Tensor | None:
    """Copy the columns of ``pre`` (b, n) that AuxK uses; None if it uses none."""
    if not aux_k or dead is None or _is_dense(pre, dead):
        return None
    return pre.detach()[:, dead]


def _is_dense(like: Tensor, dead: Tensor) -> bool:
    """Whether AuxK multiplies dense matrices, which is faster on a GPU for a few thousand dead
    latents than gathering rows for each of ``aux_k`` entries."""
    return 0 < len(dead) <= kernels.of(like).DENSE_DEAD


def aux_terms(
    sae: Sae,
    aux_k: int,
    pre: Tensor | None,
    u: Tensor,
    residual: Tensor,
    dead: Tensor | None,
    lifted: bool = False,
) -> tuple[Tensor, Tensor]:
    """``mean (e − ê)²`` of the residual e; and, without a gradient, its ratio to ``mean e²``.

    Args:
        sae: the dictionary.
        aux_k: how many dead latents of a vector make up ê.
        pre: (b, m) pre-activations of the dead latents, from `of_dead`.
        u: (b, d), what was reconstructed; residual: (b, d) e, without gradients.
        dead: (m,) int64; empty if all dead latents are those of other processes.
        lifted: use ``ELU(pre) + 1`` for dead latents: it is positive and has a gradient everywhere.

    Returns:
        both; 0 and 0 if nothing is dead.
    """
    if not aux_k or dead is None:
        zero = torch.zeros((), dtype=u.dtype, device=u.device)
        return zero, zero
    whole = ordered_sum(residual.square().sum(dim=1)) / residual.numel()
    if pre is None:
        aux_mse = _dense(sae, aux_k, u, residual, dead, lifted)
    else:
        aux_mse = _sparse(sae, aux_k, pre, u, residual, dead, lifted)
    return aux_mse, aux_mse.detach() / whole.clamp_min(torch.finfo(u.dtype).tiny)


def _sparse(
    sae: Sae, aux_k: int, pre: Tensor, u: Tensor, residual: Tensor, dead: Tensor, lifted: bool
) -> Tensor:
    if not len(dead):  # the sums over processes need this one: with a latent that never fires
        dead, pre = dead.new_zeros(1), pre.new_full((len(pre), 1), -torch.inf)
    taken = nn.functional.elu(pre) + 1 if lifted else pre
    starts, columns, values = kernels.of(pre).largest(taken, min(aux_k, len(dead)))
    # On a GPU there may be unused space after the last entry. Its column is one past the end.
    known = torch.cat([dead, dead.new_full((1,), sae.n_latents)])
    codes = Codes(starts, known[columns], values, sae.n_latents)
    codes = largest_of_vectors(codes, aux_k, sae.across)
    values = codes.values
    codes = attach(codes, u, sae.W_enc, sae.b_enc, sae.b_dec)
    if lifted:
        slope = values.clamp_max(1)
        codes = codes.with_values(values + slope * (codes.values - values))
    nothing = torch.zeros_like(sae.b_dec)
    return reconstruct(codes, residual, sae.dictionary(), nothing, sae.across)[0]


def _dense(sae: Sae, aux_k: int, u: Tensor, residual: Tensor, dead: Tensor, lifted: bool) -> Tensor:
    kernel, (b, m) = kernels.of(u), (len(u), len(dead))
    # A column of W_enc is contiguous in memory.
    weight = sae.W_enc.T.index_select(0, dead).T
    pre = kernel.affine(u, weight, sae.b_enc.index_select(0, dead), sae.b_dec)
    z = nn.functional.elu(pre) + 1 if lifted else pre
    found = Codes.of(kernel.largest(z.detach(), min(aux_k, m)), m)
    found = largest_of_vectors(found, aux_k, sae.across)
    entries = torch.arange(len(found.latents), device=u.device)
    vectors = (torch.searchsorted(found.starts, entries, right=True) - 1).clamp_max(b - 1)
    # Unused space after the last entry has the column m.
    kept = torch.zeros(b, m + 1, dtype=torch.bool, device=u.device)
    kept[vectors, found.latents] = True
    z = torch.where(kept[:, :m], z, 0)
    rows = sae.dictionary().index_select(0, dead)
    made = kernel.affine(z, rows, torch.zeros_like(sae.b_dec))
    return mean_square(residual, summed(made, sae.across))[0]
