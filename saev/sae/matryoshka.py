"""Matryoshka dictionaries (Bussmann, Nabeshima, Karvonen and Nanda 2025, arXiv 2503.17547)."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from saev.sae import kernels
from saev.sae.base import Forward, Sae
from saev.sae.batchtopk import BatchTopK
from saev.sae.codes import Codes, reconstruct, stacked
from saev.sae.selecting import Selecting, aux_terms, of_dead
from saev.sae.sums import ordered_sum
from saev.sae.topk import TopK


class MatryoshkaTerms(NamedTuple):
    """``loss = nested + aux_coefficient · aux · mse`` (the last factor a constant of the batch)."""

    loss: Tensor
    """What is differentiated."""
    mse: Tensor
    """Mean of (û − u)² over vectors and dimensions, of the whole dictionary."""
    nested: Tensor
    """Mean over the widths of the same of each prefix."""
    aux: Tensor
    """As in other architectures, of the whole dictionary."""


class Matryoshka(Selecting):
    """The first w latents, for each of the nested widths w, are a dictionary that reconstructs on its own.

    ``L = mean_w ‖u − (W_dec[:w]ᵀ z_w + b_dec)‖²`` (section 3, equation 5, there a sum). Over ``batchtopk``, z_w is the
    part of the whole's latents below w; over ``topk``, it is the k largest among the first w. Either way
    `prefix` gives the dictionary that was trained.

    Args:
        d, n_latents, k, aux_k, aux_coefficient, generator: see `Selecting`.
        widths: ascending; the last is ``n_latents``.
        over: ``batchtopk`` or ``topk``, as which a prefix selects.
    """

    architecture: ClassVar[str] = "matryoshka"
    hyperparameters: ClassVar[tuple[str, ...]] = (
        *Selecting.hyperparameters,
        "widths",
        "over",
    )
    prefix_class: ClassVar[type[Selecting]]

    def __init__(
        self, d: int, n_latents: int, k: int, widths: Sequence[int], over: str = "", **more: Any
    ) -> None:
        super().__init__(d, n_latents, k, **more)
        self.widths = tuple(widths)

    @classmethod
    def variant(cls, settings: Mapping[str, Any]) -> type[Sae]:
        return {"batchtopk": OverBatchTopK, "topk": OverTopK}[settings.get("over", "batchtopk")]

    def nested(self, pre: Tensor, whole: Codes) -> list[Codes]:
        """Codes of each width, of pre-activations (b, n) and their codes by the whole dictionary."""
        raise NotImplementedError

    def loss(self, u: Tensor, step: int, dead: Tensor | None) -> Forward:
        with torch.no_grad():
            pre = self.preactivations_in_place(u)
            whole = self.select_in_training(pre, step) if self.training else self.select(pre)
            every = stacked(self.nested(pre, whole))
        # Each width's codes as vectors of their own: one pass over the weights for all of them.
        repeated = u.repeat(len(self.widths), 1)
        codes = self.attached(every, repeated)
        nested, residuals = reconstruct(codes, repeated, self.W_dec, self.b_dec)
        residual = residuals[-len(u) :]
        mse = ordered_sum(residual.square().sum(dim=1)) / residual.numel()
        late = of_dead(pre, self.aux_k, dead)
        aux_loss, aux = aux_terms(self, self.aux_k, late, u, residual, dead)
        loss = nested + self.aux_coefficient * aux_loss
        terms = MatryoshkaTerms(loss, mse, nested.detach(), aux)
        return Forward(terms, residual, whole.n_active, whole.fired())

    @torch.no_grad()
    def prefix(self, width: int) -> Selecting:
        """The first ``width`` latents as a dictionary of their own, in evaluation mode.

        Raises:
            ValueError: no such width was trained.
        """
        if width not in self.widths:
            raise ValueError(f"width {width} wasn't trained; one of {list(self.widths)}")
        made = self.prefix_class(self.d, width, self.k)
        own = self.state_dict()
        cut = {"W_enc": own["W_enc"][:, :width], "b_enc": own["b_enc"][:width]}
        made.load_state_dict({**own, **cut, "W_dec": own["W_dec"][:width]})
        return made.eval().requires_grad_(False)


class OverBatchTopK(Matryoshka, BatchTopK):
    """Prefixes that share the threshold of the whole."""

    equation: ClassVar[str] = BatchTopK.equation
    prefix_class = BatchTopK

    def nested(self, pre: Tensor, whole: Codes) -> list[Codes]:
        return [whole.below(width) for width in self.widths]


class OverTopK(Matryoshka, TopK):
    """Prefixes that take their own k largest."""

    equation: ClassVar[str] = TopK.equation
    prefix_class = TopK

    def nested(self, pre: Tensor, whole: Codes) -> list[Codes]:
        kernel = kernels.of(pre)
        return [
            Codes.of(kernel.largest(pre[:, :width].contiguous(), self.k), self.n_latents)
            for width in self.widths[:-1]
        ] + [whole]
