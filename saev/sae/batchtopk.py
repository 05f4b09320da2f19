"""BatchTopK (Bussmann, Leask and Nanda 2024, arXiv 2412.06410)."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from saev.core.typed import typed
from saev.sae import kernels
from saev.sae.codes import Codes
from saev.sae.divided_selection import largest_of_batch
from saev.sae.selecting import Selecting
from saev.settings.sae_base import SelectingSettings

MOMENTUM = 0.99
"""Largest share of the threshold that a step keeps."""
WARMING = 30
"""At first, the running mean spans about the last thirtieth of the steps so far. Later it spans
``1 / (1 - MOMENTUM)`` steps.

With a constant momentum, the first steps, whose thresholds are far lower, would count for hundreds
of steps. A short training would then end with twice as many active latents as asked for.
"""


class BatchTopK(Selecting):
    """A training step keeps the b·k largest positive pre-activations of b vectors (section 3).

    So in training, the latents of a vector depend on its batch. Outside of training, σ compares
    with a threshold instead: ``z = pre where pre > θ, else 0``. θ is a running mean over batches of
    the smallest activation that was kept (section 3.1). A vector has k active latents on average.
    """

    equation: ClassVar[str] = (
        "u = (x - norm_mean) / norm_scale; pre = W_enc^T (u - b_dec) + b_enc; "
        "z = pre where pre > threshold, else 0; "
        "x_hat = (W_dec^T z + b_dec) * norm_scale + norm_mean"
    )

    threshold: Tensor
    """(), at least 0."""

    def __init__(
        self, settings: SelectingSettings, d: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(settings, d, generator)
        self.register_buffer("threshold", torch.zeros(()))

    def select(self, pre: Tensor) -> Codes:
        return Codes.of(kernels.of(pre).above(pre, self.threshold), self.n_latents)

    @typed
    def activate(self, pre: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
        return torch.where(pre > self.threshold, pre, 0)

    def select_in_training(self, pre: Tensor, step: int) -> Codes:
        m = self.settings.k * len(pre)
        found = kernels.of(pre).largest_of_all(pre, min(m, pre.numel()))
        codes = largest_of_batch(Codes.of(found, self.n_latents), m, self.across)
        least = least_positive(codes.values)
        least = self.across.least(least) if self.across else least
        least = torch.where(least.isinf(), self.threshold, least)
        kept = min(MOMENTUM, step / (WARMING + step))
        self.threshold.copy_(torch.lerp(least, self.threshold, kept))
        return codes


def least_positive(values: Tensor) -> Tensor:
    """The smallest positive one of ``values`` (m,), or infinity. Doesn't wait for the GPU."""
    positive = torch.where(values > 0, values, torch.inf)
    return torch.cat([positive, positive.new_full((1,), torch.inf)]).amin()
