"""Dictionaries that another library has trained, as the conversion writes them."""

from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from saev.core.typed import typed
from saev.sae import kernels
from saev.sae.base import Sae
from saev.sae.codes import Codes


class Converted(Sae):
    """σ keeps the k largest positive pre-activations, or those above a threshold of each latent.

    Rows of ``W_dec`` have the lengths that they had, so latents have the values that they had. It
    can't be trained.

    Args:
        settings: `ConvertedSettings`.
        d: width of the activations.
        generator: see `Sae`.
    """

    equation: ClassVar[str] = (
        "u = (x - norm_mean) / norm_scale; pre = W_enc^T (u - b_dec) + b_enc; "
        "z = relu(topk_k(pre)) or, with thresholds, pre where pre > threshold, else 0; "
        "x_hat = (W_dec^T z + b_dec) * norm_scale + norm_mean"
    )
    latent_axis: ClassVar[dict[str, int]] = {**Sae.latent_axis, "threshold": 0}

    threshold: Tensor
    """(n,), at least 0; only if ``k`` is None."""

    def __init__(self, settings: Any, d: int, generator: torch.Generator | None = None) -> None:
        super().__init__(settings, d, generator)
        self.k: int | None = settings.k
        if self.k is None:
            self.register_buffer("threshold", torch.zeros(self.n_latents))

    def select(self, pre: Tensor) -> Codes:
        kernel = kernels.of(pre)
        found = kernel.above(pre, self.threshold) if self.k is None else kernel.largest(pre, self.k)
        assert found is not None
        return Codes.of(found, self.n_latents)

    @typed
    def activate(self, pre: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
        if self.k is not None:
            return super().activate(pre)
        return torch.where(pre > self.threshold, pre, 0)
