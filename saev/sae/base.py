"""What every architecture shares: parameters, input normalisation, decoding, the form of a loss."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from saev.core.errors import UserError
from saev.core.typed import typed
from saev.sae import kernels
from saev.sae.codes import Codes
from saev.sae.divided import Across, own, part_of
from saev.sae.given import rows_of
from saev.sae.kernels import plain
from saev.sae.sums import ordered_sum
from saev.settings.sae_base import SaeSettings

MIN_ROWS = 8
"""BLAS computes products of fewer rows in another way, which rounds differently. So inputs are
padded to this many rows."""

EVEN = 16
"""If the output of a product has at least this many rows and a multiple of this many columns, its
bits don't depend on the number of threads (measured with PyTorch's MKL)."""
RESTART_SHARE = 0.2
"""Norm of a restarted latent's encoder column, as a share of the mean norm over living latents."""
ACTIVATIONS, LATENTS = "activations", "latents"
"""What vectors are, for messages."""
DIRECTIONS = 3
"""What directions are drawn for, see `Draw`."""


class Forward(NamedTuple):
    """One training step's forward pass."""

    terms: Any
    """A NamedTuple of scalars: ``loss``, which is differentiated, ``mse``, and the architecture's
    own."""
    residual: Float[Tensor, "b d"]
    """u − û, what the reconstruction misses of the normalised vectors, detached."""
    n_active: Int[Tensor, " b"]
    """Number of active latents of each vector."""
    fired: Bool[Tensor, " n"]
    """Which latents are active for at least one vector of the batch."""


class Active(NamedTuple):
    """All latents that are not zero, sorted by vector, then latent."""

    vector: Int[Tensor, " m"]
    """Position in the batch, int64."""
    latent: Int[Tensor, " m"]
    """Latent, int64."""
    value: Float[Tensor, " m"]
    """Activation, positive, float32."""


class Draw(Protocol):
    """How an architecture gets training vectors to start from."""

    def __call__(self, at_most: int, purpose: int) -> Float[Tensor, "m d"]:
        """Draw ``at_most`` distinct raw vectors, or all if there are fewer, in their order.

        Args:
            at_most: how many.
            purpose: part of the seed: the same purpose gives the same vectors. 1 to 5 are in use.
        """


class Sae(nn.Module):
    """A sparse autoencoder of activations.

    With ``u = (x − norm_mean) / norm_scale``::

        z  = σ(W_encᵀ (u − b_dec) + b_enc)
        û  = W_decᵀ z + b_dec,    x̂ = û · norm_scale + norm_mean

    where σ is the architecture's nonlinearity. Rows of ``W_dec`` have norm 1.

    Args:
        settings: everything that determines how it is made and trained.
        d: width of the activations.
        generator: draws the initial weights; None takes a fixed one (for loading).
    """

    equation: ClassVar[str]
    """The equations above with σ in words, for the checkpoint."""
    latent_axis: ClassVar[dict[str, int]] = {"W_enc": 1, "b_enc": 0, "W_dec": 0}
    """Which axis of a parameter counts latents. Parameters without such an axis aren't listed."""

    norm_mean: Tensor
    norm_scale: Tensor

    def __init__(
        self, settings: SaeSettings, d: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.settings, self.d, self.n_latents = settings, d, settings.n_latents
        self.stream: str | None = None
        self.across: Across | None = None
        """The processes that divide the latents; None if they are all here. See `divide`."""
        self.metadata: Mapping[str, Any] = {}
        if generator is None:
            generator = torch.Generator().manual_seed(0)
        directions_nd = unit_rows(torch.randn(self.n_latents, d, generator=generator))
        # Tied at the start: a latent reads the direction that it writes. The weights of a latent
        # are contiguous in memory, because its gradient is summed latent by latent.
        self.W_enc = nn.Parameter((directions_nd * self.initial_encoder_scale()).T)
        self.b_enc = nn.Parameter(torch.zeros(self.n_latents))
        self.W_dec = nn.Parameter(directions_nd)
        self.b_dec = nn.Parameter(torch.zeros(d))
        self.register_buffer("norm_mean", torch.zeros(d))
        self.register_buffer("norm_scale", torch.ones(d))

    @property
    def architecture(self) -> str:
        """Its name."""
        return self.settings.architecture

    def __repr__(self) -> str:
        from saev.sae import showing

        return showing.as_line(self)

    def _repr_html_(self) -> str:
        from saev.sae import showing

        return showing.as_card(self)

    def rate_of(self, parameter: str) -> float:
        """Factor for the learning rate of a parameter."""
        return 1.0

    def initial_encoder_scale(self) -> float:
        """Initial scale of encoder columns, so that reconstructions aren't longer than x."""
        # If half of n tied latents fire, together they return n / 2d of x.
        return min(1.0, self.d / self.settings.n_latents)

    @torch.no_grad()
    def start(self, draw: Draw) -> None:
        """Initialise from training vectors. Normalisation and ``b_dec`` are set already."""
        if self.settings.init == "data":
            self.point_at(draw(self.n_latents, DIRECTIONS))

    @torch.no_grad()
    def point_at(self, x: Float[Tensor, "m d"]) -> None:
        """Point the first m latents, and their encoder, at raw vectors as seen from ``b_dec``.

        Where a vector equals ``b_dec``, the latent keeps its direction.
        """
        u = self.normalise(x) - self.b_dec
        lost, here = (u == 0).all(dim=1, keepdim=True), slice(len(x))
        self.W_dec[here] = torch.where(lost, self.W_dec[here], unit_rows(u))
        self.W_enc.copy_(self.W_dec.T * self.initial_encoder_scale())

    def dictionary(self) -> Tensor:
        """The decoder (n, d), with a gradient. Architectures that compute it override this."""
        return self.W_dec

    def loss(self, u: Tensor, step: int, dead: Tensor | None) -> Forward:
        """Run the forward pass, with everything that training needs.

        Args:
            u: (b, d) normalised activations.
            step: how many steps were done before this one (for warm-ups).
            dead: (m,) int64, latents that count as dead; None if there are none. Empty if only
                other processes have some.
        """
        raise NotImplementedError

    def select(self, pre: Tensor) -> Codes:
        """σ of pre-activations (b, n), as codes without a gradient.

        Vectors don't affect one another.
        """
        raise NotImplementedError

    @typed
    def activate(self, pre: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
        """σ of pre-activations, dense.

        This version is for a σ that keeps some and zeroes the rest.
        """
        codes = self.select(pre.detach()).compact()
        z = torch.zeros_like(pre)
        z[codes.vectors, codes.latents] = pre[codes.vectors, codes.latents]
        return z

    def active(self, x: Float[Tensor, "b d"]) -> Active:
        """All nonzero latents of raw activations.

        Raises:
            UserError: see `rows_of`; or there are more axes than two.
        """
        rows = rows_of(x, self.d, self.W_dec, ACTIVATIONS)
        if x.ndim != 2:
            raise UserError(f"active takes vectors (b, {self.d}): give x.reshape(-1, {self.d})")
        x = rows
        codes = self.select(self.preactivations(x).detach()).compact()
        return Active(codes.vectors, codes.latents, codes.values)

    @typed
    def normalise(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """Map raw activations to the dictionary's normalised space."""
        return (x - self.norm_mean) / self.norm_scale

    @typed
    def denormalise(self, u: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """The inverse of `normalise`."""
        return u * self.norm_scale + self.norm_mean

    @typed
    def preactivations(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "b n"]:
        """Pre-activations of raw activations.

        A row's bits don't depend on the size of the batch.
        """
        u, b = self.normalise(x), len(x)
        if b < MIN_ROWS:
            u = torch.cat([u, u.new_zeros(MIN_ROWS - b, self.d)])
        # Always in float32; in training, GPUs round factors to bfloat16.
        return plain.affine(u, self.W_enc, self.b_enc, self.b_dec)[:b]

    def encode(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b n"]:
        """Latents of raw activations, dense, float32.

        Args:
            x: one vector (d), or any number of them (…, d), of any floating-point type.

        Raises:
            UserError: see `rows_of`.
        """
        rows = rows_of(x, self.d, self.W_dec, ACTIVATIONS)
        return self.activate(self.preactivations(rows)).reshape(*x.shape[:-1], self.n_latents)

    def decode(self, z: Float[Tensor, "*b n"]) -> Float[Tensor, "*b d"]:
        """Reconstruction in raw space from dense latents, float32. Raises as `encode` does."""
        rows = rows_of(z, self.n_latents, self.W_dec, LATENTS)
        return self.denormalise(rows @ self.W_dec + self.b_dec).reshape(*z.shape[:-1], self.d)

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

    def forward(self, x: Tensor) -> Tensor:
        """``decode(encode(x))``, raw space to raw space, (…, d) to (…, d)."""
        return self.decode(self.encode(x))

    @torch.no_grad()
    def remove_parallel_gradient(self) -> None:
        """Remove from ``W_dec.grad`` the part that would only change the lengths of rows."""
        grad = self.W_dec.grad
        if grad is not None:
            along = (grad * self.W_dec).sum(dim=1, keepdim=True)
            grad.addcmul_(along, self.W_dec, value=-1)

    @torch.no_grad()
    def restart(self, latents: Tensor, directions: Tensor, alive: Tensor) -> None:
        """Start dead latents again.

        Args:
            latents: (m,) int64, the ones to restart.
            directions: (m, d) norm 1, what they read and write from now on.
            alive: (n,) bool. The new encoder columns get a share of the mean length of these
                latents' columns. If none is alive, they get the length that they had when training
                started.
        """
        mean = self.mean_over_latents(self.W_enc.norm(dim=0)[alive])
        length = self.initial_encoder_scale() if mean is None else RESTART_SHARE * mean
        self.W_dec[latents] = directions
        self.W_enc[:, latents] = directions.T * length
        self.b_enc[latents] = 0

    def mean_over_latents(self, values: Tensor) -> float | None:
        """The mean of the values (m,) of some latents; None if there are none in any process."""
        found = values.double().cpu().numpy()
        if self.across is None:
            return float(found.mean()) if len(found) else None
        sums = torch.tensor([found.sum(), len(found)], dtype=torch.float64, device=values.device)
        total, n = self.across.sum(sums).tolist()
        return total / n if n else None

    @torch.no_grad()
    def divide(self, across: Across) -> None:
        """Keep only the latents that are this process' own."""
        for name, axis in self.latent_axis.items():
            whole = getattr(self, name, None)
            if whole is not None:
                part = part_of(whole.detach(), axis, across)
                setattr(self, name, nn.Parameter(part) if isinstance(whole, nn.Parameter) else part)
        self.across, self.n_latents = across, own(self.n_latents, across)

    def finish_step(self) -> None:
        """Do what follows each step of training.

        Architectures that compute the decoder need this.
        """


def warmed_up(coefficient: float, step: int, warmup_steps: int) -> float:
    """The value of a coefficient that rises linearly from 0, after ``step`` steps."""
    return coefficient if step >= warmup_steps else coefficient * step / warmup_steps


def unit_rows(rows: Tensor) -> Tensor:
    """``rows`` (n, d), each scaled to norm 1."""
    return rows / rows.norm(dim=1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)


class _MeanSquare(torch.autograd.Function):
    """Mean square of the residual ``u − reconstruction``, and the residual itself.

    Only the reconstruction gets a gradient.
    """

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
    """Mean over vectors and dimensions of (u − reconstruction)², and the residual itself.

    Only the mean has a gradient, and only for the reconstruction.
    """
    return _MeanSquare.apply(u, reconstruction)
