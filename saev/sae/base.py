"""What every architecture shares: parameters, input normalisation, decoding, and the contract of a loss."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from saev.sae import kernels
from saev.sae.kernels import plain
from saev.sae.sums import ordered_sum
from saev.typing import typed

MIN_ROWS = 8
"""Products of fewer rows take another path in BLAS and round differently; inputs are padded to this."""

EVEN = 16
"""Products with outputs of multiples of this in width, and of at least this many rows, have the same bits for
any number of threads (measured with PyTorch's MKL)."""
RESTART_SHARE = 0.2
"""Of the mean norm of living latents' encoder columns, that the column of a latent has that starts again."""


class Forward(NamedTuple):
    """One training step's forward pass."""

    terms: Any
    """A NamedTuple of scalars: ``loss``, which is differentiated, ``mse``, and the architecture's own."""
    residual: Float[Tensor, "b d"]
    """What the reconstruction leaves over of the normalised vectors, u − û, detached."""
    n_active: Int[Tensor, " b"]
    """Active latents of each vector."""
    fired: Bool[Tensor, " n"]
    """Latents that are active for any vector of the batch."""


class Active(NamedTuple):
    """All latents that are not zero, sorted by vector, then latent."""

    vector: Int[Tensor, " m"]
    """Position in the batch, int64."""
    latent: Int[Tensor, " m"]
    """Latent, int64."""
    value: Float[Tensor, " m"]
    """Activation, positive, float32."""


class Across(Protocol):
    """What a loss needs to know of the rest of a batch that is shared out over processes."""

    size: int

    def mean(self, tensor: Tensor) -> Tensor:
        """Average over the processes, in place."""

    def least(self, number: Tensor) -> Tensor:
        """The smallest over the processes."""

    def bound(self, values: Tensor, m: int) -> Tensor:
        """The m-th largest of the positive numbers (v,) of all processes; 0 if there are fewer."""


class Sae(nn.Module):
    """A sparse autoencoder of activations.

    With ``u = (x − norm_mean) / norm_scale``::

        z  = σ(W_encᵀ (u − b_dec) + b_enc)
        û  = W_decᵀ z + b_dec,    x̂ = û · norm_scale + norm_mean

    where σ is the architecture's nonlinearity. Rows of ``W_dec`` have norm 1.

    Args:
        d: width of the activations.
        n_latents: size of the dictionary.
        generator: draws the initial weights; a fixed one if None (for loading).
    """

    architecture: ClassVar[str]
    equation: ClassVar[str]
    hyperparameters: ClassVar[tuple[str, ...]]
    """Settings that the constructor takes beside ``d`` and ``n_latents``."""
    latent_axis: ClassVar[dict[str, int]] = {"W_enc": 1, "b_enc": 0, "W_dec": 0}
    """Which axis of a parameter counts latents, of those that have one."""

    norm_mean: Tensor
    norm_scale: Tensor

    def __init__(self, d: int, n_latents: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.d, self.n_latents = d, n_latents
        self.stream: str | None = None
        self.across: Across | None = None
        self.metadata: Mapping[str, Any] = {}
        if generator is None:
            generator = torch.Generator().manual_seed(0)
        directions_nd = unit_rows(torch.randn(n_latents, d, generator=generator))
        # Tied at the start: a latent reads the direction that it writes.
        # A latent's weights lie side by side in memory, as its gradient is summed.
        self.W_enc = nn.Parameter((directions_nd * self.initial_encoder_scale()).T)
        self.b_enc = nn.Parameter(torch.zeros(n_latents))
        self.W_dec = nn.Parameter(directions_nd)
        self.b_dec = nn.Parameter(torch.zeros(d))
        self.register_buffer("norm_mean", torch.zeros(d))
        self.register_buffer("norm_scale", torch.ones(d))

    def rate_of(self, parameter: str) -> float:
        """By what the learning rate of a parameter is multiplied."""
        return 1.0

    def initial_encoder_scale(self) -> float:
        """Scale of the encoder's initial columns, so that the first reconstructions aren't longer than x."""
        # If half of n tied latents fire, they together return n / 2d of x.
        return min(1.0, self.d / self.n_latents)

    @classmethod
    def variant(cls, settings: Mapping[str, Any]) -> "type[Sae]":
        """The class for these settings, of architectures that have several."""
        return cls

    def dictionary(self) -> Tensor:
        """The decoder (n, d) with its gradient, for architectures that compute it."""
        return self.W_dec

    def loss(self, u: Tensor, step: int, dead: Tensor | None) -> Forward:
        """Forward pass with everything that training needs.

        Args:
            u: (b, d) normalised activations.
            step: number of steps done before this one (for warm-ups).
            dead: (m,) int64, latents that count as dead; None if there are none.
        """
        raise NotImplementedError

    def activate(self, pre: Tensor) -> Tensor:
        """The nonlinearity σ: (b, n) pre-activations to (b, n) latents."""
        raise NotImplementedError

    def active(self, x: Tensor) -> Active:
        """All nonzero latents of raw activations (b, d)."""
        raise NotImplementedError

    @typed
    def normalise(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """Raw activations to the space that the dictionary lives in."""
        return (x - self.norm_mean) / self.norm_scale

    @typed
    def denormalise(self, u: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """The inverse of `normalise`."""
        return u * self.norm_scale + self.norm_mean

    @typed
    def preactivations(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "b n"]:
        """Pre-activations of raw activations; a row's value doesn't depend on the batch's size."""
        u, b = self.normalise(x), len(x)
        if b < MIN_ROWS:
            u = torch.cat([u, u.new_zeros(MIN_ROWS - b, self.d)])
        # In float32 on every device, unlike those of training.
        return plain.affine(u, self.W_enc, self.b_enc, self.b_dec)[:b]

    @typed
    def encode(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "b n"]:
        """Latents of raw activations, dense."""
        return self.activate(self.preactivations(x))

    @typed
    def encode_latents(
        self, x: Float[Tensor, "b d"], latents: Int[Tensor, " m"]
    ) -> Float[Tensor, "b m"]:
        """Only the chosen latents: equal to ``encode(x)[:, latents]``."""
        return self.encode(x)[:, latents]

    @typed
    def decode(self, z: Float[Tensor, "b n"]) -> Float[Tensor, "b d"]:
        """Reconstruction in raw space from dense latents."""
        return self.denormalise(z @ self.W_dec + self.b_dec)

    @typed
    def decode_active_normalised(
        self,
        vector: Int[Tensor, " m"],
        latent: Int[Tensor, " m"],
        value: Float[Tensor, " m"],
        n_vectors: int,
    ) -> Float[Tensor, "b d"]:
        """Reconstruction of ``n_vectors`` vectors, in normalised space, from `active`'s triples."""
        starts = torch.searchsorted(vector, torch.arange(n_vectors + 1, device=vector.device))
        return kernels.of(value).decode(starts, latent, value, self.W_dec) + self.b_dec

    @typed
    def decode_active(
        self,
        vector: Int[Tensor, " m"],
        latent: Int[Tensor, " m"],
        value: Float[Tensor, " m"],
        n_vectors: int,
    ) -> Float[Tensor, "b d"]:
        """Reconstruction of ``n_vectors`` vectors, in raw space, from `active`'s triples."""
        return self.denormalise(self.decode_active_normalised(vector, latent, value, n_vectors))

    def forward(self, x: Tensor) -> Tensor:
        """``decode(encode(x))``, raw space to raw space, (b, d) to (b, d)."""
        return self.decode(self.encode(x))

    @torch.no_grad()
    def remove_parallel_gradient(self) -> None:
        """Take out of ``W_dec.grad`` what would only change the rows' lengths."""
        grad = self.W_dec.grad
        if grad is not None:
            along = (grad * self.W_dec).sum(dim=1, keepdim=True)
            grad.addcmul_(along, self.W_dec, value=-1)

    @torch.no_grad()
    def restart(self, latents: Tensor, directions: Tensor, alive: Tensor) -> None:
        """Start dead latents again.

        Args:
            latents: (m,) int64, those that start.
            directions: (m, d) norm 1, what they read and write from now on.
            alive: (n,) bool; the new encoder columns are a share of the mean length of these latents', or
                as at the start of training if there are none.
        """
        norms = self.W_enc.norm(dim=0)[alive].double().cpu().numpy()
        length = RESTART_SHARE * float(norms.mean()) if len(norms) else self.initial_encoder_scale()
        self.W_dec[latents] = directions
        self.W_enc[:, latents] = directions.T * length
        self.b_enc[latents] = 0

    def finish_step(self) -> None:
        """Called after each step of training, for architectures that compute the decoder."""


def warmed_up(coefficient: float, step: int, warmup_steps: int) -> float:
    """A coefficient that rises linearly from 0, in the step after ``step`` steps."""
    return coefficient if step >= warmup_steps else coefficient * step / warmup_steps


def unit_rows(rows: Tensor) -> Tensor:
    """``rows`` (n, d) with norm 1 each."""
    return rows / rows.norm(dim=1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)


class _MeanSquare(torch.autograd.Function):
    """The mean square of ``u − reconstruction`` and that residual, with a gradient for the reconstruction."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, reconstruction: Tensor) -> tuple[Tensor, Tensor]:
        residual, sums = kernels.of(u).squared_error(u, reconstruction)
        ctx.mark_non_differentiable(residual)
        ctx.save_for_backward(residual)
        return ordered_sum(sums) / residual.numel(), residual

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[None, Tensor]:
        (residual,) = ctx.saved_tensors
        return None, residual * (grad * (-2 / residual.numel()))


def mean_square(
    u: Float[Tensor, "b d"], reconstruction: Float[Tensor, "b d"]
) -> tuple[Float[Tensor, ""], Float[Tensor, "b d"]]:
    """Mean over vectors and dimensions of the squared residual ``u − reconstruction``, and the residual.

    Only the mean has a gradient, and only for the reconstruction.
    """
    return _MeanSquare.apply(u, reconstruction)
