"""Archetypal dictionaries (Fel et al. 2025, arXiv 2502.12892)."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from saev.sae.base import DIRECTIONS, Draw, unit_rows
from saev.sae.topk import TopK
from saev.settings.sae import ArchetypalSettings

SHARPNESS = 10.0
"""The learned values are multiplied by this to give the logits, so that a learning rate that suits
the weights suits the mixtures too."""
OWN = 0.8
"""Initial value for the point that a latent starts at: e⁸ outweighs a few thousand others."""


class Archetypal(TopK):
    """TopK whose decoder rows are mixtures of data points. This keeps it stable across seeds.

    ``W_dec = unit rows of (A C + Λ)`` (section 4). C holds data points of norm 1, in normalised
    space around b_dec. A is row-stochastic (here a softmax), so a row of A C is a convex
    combination of points. Λ is a relaxation with rows no longer than δ. As in every dictionary,
    rows are scaled to norm 1. The points are training vectors, drawn at random; the paper takes
    centroids of them.

    Args:
        settings, d, generator: see `Sae`; ``relaxation`` is δ; with 0, rows stay in the
            hull of the points.
    """

    settings: ArchetypalSettings
    latent_axis: ClassVar[dict[str, int]] = {**TopK.latent_axis, "mixture": 0, "offset": 0}
    points: Tensor
    """(p, d), rows of norm 1."""

    def __init__(
        self, settings: ArchetypalSettings, d: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(settings, d, generator)
        n_latents, n_points = settings.n_latents, settings.n_points
        del self.W_dec
        self.register_buffer("W_dec", torch.zeros(n_latents, d))
        generator = generator or torch.Generator().manual_seed(0)
        self.register_buffer("points", unit_rows(torch.randn(n_points, d, generator=generator)))
        # Each latent starts at its own point. If points run out, it starts between two.
        start, latents = torch.zeros(n_latents, n_points), torch.arange(n_latents)
        start[latents, latents % n_points] = OWN
        others = torch.randint(n_points, (n_latents,), generator=generator)
        start[latents[n_points:], others[n_points:]] = OWN
        self.mixture = nn.Parameter(start)
        """(n, p), A before its softmax."""
        if settings.relaxation:
            self.offset = nn.Parameter(torch.zeros(n_latents, d))
            """(n, d), Λ."""
        self.start_at(self.points)

    def start(self, draw: Draw) -> None:
        points = self.normalise(draw(self.settings.n_points, DIRECTIONS)) - self.b_dec
        self.start_at(points[torch.arange(self.settings.n_points) % len(points)])

    @torch.no_grad()
    def start_at(self, points: Tensor) -> None:
        """Use these centred data points (p, d), and set the encoder to the decoder they give."""
        lengths = points.norm(dim=1, keepdim=True)
        self.points.copy_(torch.where(lengths > 0, unit_rows(points), self.points))
        self.finish_step()
        self.W_enc.copy_(self.W_dec.T * self.initial_encoder_scale())

    def dictionary(self) -> Tensor:
        rows = (SHARPNESS * self.mixture).softmax(dim=1) @ self.points
        return unit_rows(rows + self.offset if self.settings.relaxation else rows)

    @torch.no_grad()
    def finish_step(self) -> None:
        """Shorten the rows of Λ to their bound, then compute ``W_dec`` from the mixtures."""
        if self.settings.relaxation:
            lengths = self.offset.norm(dim=1, keepdim=True).clamp_min(1e-12)
            self.offset.mul_((self.settings.relaxation / lengths).clamp_max(1.0))
        self.W_dec.copy_(self.dictionary())
