"""Archetypal dictionaries (Fel et al. 2025, arXiv 2502.12892)."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from saev.sae.base import unit_rows
from saev.sae.topk import TopK

SHARPNESS = 10.0
"""Logits are the learned values times this, so that a rate that suits weights suits mixtures."""
OWN = 0.8
"""Initial value of the point that a latent starts at; e⁸ of it outweighs a few thousand others."""


class Archetypal(TopK):
    """TopK whose decoder rows are mixtures of data points, which keeps dictionaries stable over seeds.

    ``W_dec = unit rows of (A C + Λ)`` (section 4): C are data points of norm 1, in normalised space around
    b_dec; A is row-stochastic (here a softmax), so a row of A C is a convex combination of points; Λ is
    a relaxation with rows no longer than δ. Rows have norm 1 as in every dictionary: a latent's direction
    is that of the combination. Points are drawn training vectors; the paper takes centroids of them.

    Args:
        d, n_latents, k, aux_k, aux_coefficient, generator: see `Selecting`.
        n_points: number of data points.
        relaxation: δ; 0 keeps to the hull of the points.
    """

    architecture: ClassVar[str] = "archetypal"
    hyperparameters: ClassVar[tuple[str, ...]] = (
        *TopK.hyperparameters,
        "n_points",
        "relaxation",
    )

    points: Tensor
    """(p, d), rows of norm 1."""

    def __init__(
        self,
        d: int,
        n_latents: int,
        k: int,
        n_points: int,
        relaxation: float = 0.0,
        generator: torch.Generator | None = None,
        **more: Any,
    ) -> None:
        super().__init__(d, n_latents, k, generator=generator, **more)
        self.n_points, self.relaxation = n_points, relaxation
        del self.W_dec
        self.register_buffer("W_dec", torch.zeros(n_latents, d))
        generator = generator or torch.Generator().manual_seed(0)
        self.register_buffer("points", unit_rows(torch.randn(n_points, d, generator=generator)))
        # A latent starts at a point of its own, or, when there are more latents than points, between two.
        start, latents = torch.zeros(n_latents, n_points), torch.arange(n_latents)
        start[latents, latents % n_points] = OWN
        others = torch.randint(n_points, (n_latents,), generator=generator)
        start[latents[n_points:], others[n_points:]] = OWN
        self.mixture = nn.Parameter(start)
        """(n, p), A before its softmax."""
        if relaxation:
            self.offset = nn.Parameter(torch.zeros(n_latents, d))
            """(n, d), Λ."""
        self.start_at(self.points)

    @torch.no_grad()
    def start_at(self, points: Tensor) -> None:
        """Take the data points ``points`` (p, d), centred, and tie the encoder to the decoder that they give."""
        lengths = points.norm(dim=1, keepdim=True)
        self.points.copy_(torch.where(lengths > 0, unit_rows(points), self.points))
        self.finish_step()
        self.W_enc.copy_(self.W_dec.T * self.initial_encoder_scale())

    def dictionary(self) -> Tensor:
        rows = (SHARPNESS * self.mixture).softmax(dim=1) @ self.points
        return unit_rows(rows + self.offset if self.relaxation else rows)

    @torch.no_grad()
    def finish_step(self) -> None:
        """Bring Λ back to its bound, and ``W_dec`` to what the mixtures now give."""
        if self.relaxation:
            lengths = self.offset.norm(dim=1, keepdim=True).clamp_min(1e-12)
            self.offset.mul_((self.relaxation / lengths).clamp_max(1.0))
        self.W_dec.copy_(self.dictionary())
