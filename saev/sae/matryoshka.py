"""Matryoshka dictionaries (Bussmann, Nabeshima, Karvonen and Nanda 2025, arXiv 2503.17547)."""

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from saev.sae.base import Forward
from saev.sae.batchtopk import BatchTopK
from saev.sae.codes import Codes, reconstruct, stacked
from saev.sae.divided import own, summed
from saev.sae.selecting import Selecting, aux_terms, of_dead
from saev.sae.sums import ordered_sum
from saev.sae.topk import TopK
from saev.settings.sae import BatchTopKSettings, MatryoshkaSettings, TopKSettings
from saev.settings.sae_base import SelectingSettings


class MatryoshkaTerms(NamedTuple):
    """``loss = nested + aux_coefficient · aux · mse`` (the last factor a constant of the batch)."""

    loss: Tensor
    """What is differentiated."""
    mse: Tensor
    """Mean of (û − u)² over vectors and dimensions, of the whole dictionary."""
    nested: Tensor
    """The same for each prefix, averaged over the widths."""
    aux: Tensor
    """As in other architectures, for the whole dictionary."""


class Matryoshka(Selecting):
    """For each nested width w, the first w latents are a dictionary that works on its own.

    ``L = mean_w ‖u − (W_dec[:w]ᵀ z_w + b_dec)‖²`` (section 3, equation 5, where it is a sum). Over
    ``batchtopk``, z_w are those active latents of the whole dictionary that are below w. Over
    ``topk``, z_w are the k largest among the first w. Either way, `prefix` gives the dictionary
    that was trained.

    Args:
        settings, d, generator: see `Sae`.
    """

    settings: MatryoshkaSettings
    prefix_class: ClassVar[type[Selecting]]
    prefix_settings: ClassVar[type[SelectingSettings]]

    def nested(self, pre: Tensor, whole: Codes) -> list[Codes]:
        """Codes for each width, from pre-activations (b, n) and the whole's codes."""
        raise NotImplementedError

    def loss(self, u: Tensor, step: int, dead: Tensor | None) -> Forward:
        with torch.no_grad():
            pre = self.preactivations_in_place(u)
            whole = self.select_in_training(pre, step) if self.training else self.select(pre)
            every = stacked(self.nested(pre, whole))
        # Treat the codes of each width as extra vectors: one pass over the weights serves all.
        repeated = u.repeat(len(self.settings.widths), 1)
        codes = self.attached(every, repeated)
        nested, residuals = reconstruct(codes, repeated, self.W_dec, self.b_dec, self.across)
        residual = residuals[-len(u) :]
        mse = ordered_sum(residual.square().sum(dim=1)) / residual.numel()
        late = of_dead(pre, self.settings.aux_k, dead)
        aux_loss, aux = aux_terms(self, self.settings.aux_k, late, u, residual, dead)
        loss = nested + self.settings.aux_coefficient * aux_loss
        terms = MatryoshkaTerms(loss, mse, nested.detach(), aux)
        return Forward(terms, residual, summed(whole.n_active, self.across), whole.fired())

    @torch.no_grad()
    def prefix(self, width: int) -> Selecting:
        """The first ``width`` latents as a dictionary of their own, in evaluation mode.

        Raises:
            ValueError: no such width was trained.
        """
        widths, over = self.settings.widths, self.settings.over
        if width not in widths:
            raise ValueError(f"width {width} wasn't trained; choose one of {list(widths)}")
        names = set(self.prefix_settings.model_fields)
        given = self.settings.model_dump(include=names)
        given |= {"architecture": over, "n_latents": width, "aux_k": 0, "aux_coefficient": 0.0}
        made = self.prefix_class(self.prefix_settings(**given), self.d)
        own = self.state_dict()
        cut = {"W_enc": own["W_enc"][:, :width], "b_enc": own["b_enc"][:width]}
        made.load_state_dict({**own, **cut, "W_dec": own["W_dec"][:width]})
        return made.eval().requires_grad_(False)


class OverBatchTopK(Matryoshka, BatchTopK):
    """Prefixes that share the threshold of the whole."""

    equation: ClassVar[str] = BatchTopK.equation
    prefix_class, prefix_settings = BatchTopK, BatchTopKSettings

    def nested(self, pre: Tensor, whole: Codes) -> list[Codes]:
        return [whole.below(own(width, self.across)) for width in self.settings.widths]


class OverTopK(Matryoshka, TopK):
    """Prefixes that each take their own k largest."""

    equation: ClassVar[str] = TopK.equation
    prefix_class, prefix_settings = TopK, TopKSettings

    def nested(self, pre: Tensor, whole: Codes) -> list[Codes]:
        widths = [own(width, self.across) for width in self.settings.widths[:-1]]
        return [self.select(pre[:, :width].contiguous()) for width in widths] + [whole]


def matryoshka(
    settings: MatryoshkaSettings, d: int, generator: torch.Generator | None = None
) -> Matryoshka:
    """Make the dictionary whose prefixes select in the way that ``over`` says."""
    return {"batchtopk": OverBatchTopK, "topk": OverTopK}[settings.over](settings, d, generator)
