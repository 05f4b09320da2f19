"""TopK (Gao et al. 2024, arXiv 2406.04093)."""

from typing import ClassVar

from torch import Tensor

from saev.sae import kernels
from saev.sae.codes import Codes
from saev.sae.divided_selection import largest_of_vectors
from saev.sae.selecting import Selecting


class TopK(Selecting):
    """σ keeps the k largest positive pre-activations of a vector (section 2.3)."""

    equation: ClassVar[str] = (
        "u = (x - norm_mean) / norm_scale; z = relu(topk_k(W_enc^T (u - b_dec) + b_enc)); "
        "x_hat = (W_dec^T z + b_dec) * norm_scale + norm_mean"
    )

    def select(self, pre: Tensor) -> Codes:
        k = self.settings.k
        found = kernels.of(pre).largest(pre, min(k, pre.shape[1]))
        return largest_of_vectors(Codes.of(found, self.n_latents), k, self.across)
