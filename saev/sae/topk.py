"""TopK (Gao et al. 2024, arXiv 2406.04093)."""

from typing import ClassVar

from torch import Tensor

from saev.sae import kernels
from saev.sae.codes import Codes
from saev.sae.selecting import Selecting


class TopK(Selecting):
    """σ keeps the k largest positive pre-activations of a vector (section 2.3)."""

    equation: ClassVar[str] = (
        "u = (x - norm_mean) / norm_scale; z = relu(topk_k(W_enc^T (u - b_dec) + b_enc)); "
        "x_hat = (W_dec^T z + b_dec) * norm_scale + norm_mean"
    )

    def select(self, pre: Tensor) -> Codes:
        return Codes.of(kernels.of(pre).largest(pre, self.settings.k), self.n_latents)
