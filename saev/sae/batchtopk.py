"""BatchTopK (Bussmann, Leask and Nanda 2024, arXiv 2412.06410)."""

from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from saev.sae import kernels
from saev.sae.codes import Codes
from saev.sae.selecting import Selecting
from saev.typing import typed

MOMENTUM = 0.99
"""Share of the threshold that a step keeps."""


class BatchTopK(Selecting):
    """A training step keeps the b·k largest pre-activations of a batch of b vectors, if positive (section 3).

    What a vector gets then depends on its batch. So a threshold θ is learned, the mean over batches of
    the smallest activation that was kept (section 3.1), and σ outside of training steps is
    ``z = pre where pre > θ, else 0``: k latents of a vector on average, as many as it needs of each.
    """

    architecture: ClassVar[str] = "batchtopk"
    equation: ClassVar[str] = (
        "u = (x - norm_mean) / norm_scale; pre = W_enc^T (u - b_dec) + b_enc; "
        "z = pre where pre > threshold, else 0; "
        "x_hat = (W_dec^T z + b_dec) * norm_scale + norm_mean"
    )

    threshold: Tensor
    """(), at least 0."""

    def __init__(self, d: int, n_latents: int, k: int, **more: Any) -> None:
        super().__init__(d, n_latents, k, **more)
        self.register_buffer("threshold", torch.zeros(()))

    def select(self, pre: Tensor) -> Codes:
        return Codes.of(kernels.of(pre).above(pre, self.threshold), self.n_latents)

    @typed
    def activate(self, pre: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
        return torch.where(pre > self.threshold, pre, 0)

    def select_in_training(self, pre: Tensor, step: int) -> Codes:
        m = self.k * len(pre) * (self.across.size if self.across else 1)
        found = kernels.of(pre).largest_of_all(pre, min(m, pre.numel()))
        codes = Codes.of(found, self.n_latents)
        if self.across:
            codes = codes.where(codes.values >= self.across.bound(codes.values, m))
        least = least_positive(codes.values, self.threshold)
        least = self.across.least(least) if self.across else least
        self.threshold.copy_(least if step == 0 else torch.lerp(least, self.threshold, MOMENTUM))
        return codes


def least_positive(values: Tensor, otherwise: Tensor) -> Tensor:
    """The smallest of the positive ``values`` (m,), known without waiting for a GPU; ``otherwise`` if there is none."""
    positive = torch.where(values > 0, values, torch.inf)
    least = torch.cat([positive, positive.new_full((1,), torch.inf)]).amin()
    return torch.where(least.isinf(), otherwise, least)
