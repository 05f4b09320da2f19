"""Sparse latents: encoding and decoding without a dense gradient of the latents.

Values and gradients equal those of the plain dense form; tests compare them in float64.
`saev.sae.kernels` chooses the code that computes them.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from saev.sae import kernels
from saev.sae.divided import Across, once, summed
from saev.sae.sums import ordered_sum

SPARSE_SHARE = 0.1
"""Up to this share of active latents, compiled loops over them are faster than dense products."""


class Codes:
    """Which latents of which vectors are active, and how much.

    Args:
        starts: (b + 1,) int64. Vector i has the entries from ``starts[i]`` to ``starts[i + 1]``.
        latents: (m,) int64, ascending in each vector. On a GPU there may be more entries than
            ``starts[-1]``, so that the host needn't wait to learn that number. The rest is ignored.
        values: (m,) activations, with or without a gradient.
        n_latents: size of the dictionary.
    """

    def __init__(self, starts: Tensor, latents: Tensor, values: Tensor, n_latents: int) -> None:
        self.starts, self.latents, self.values, self.n_latents = starts, latents, values, n_latents
        self._order: list[Any] = []

    @classmethod
    def of(cls, found: tuple[Tensor, Tensor, Tensor], n_latents: int) -> "Codes":
        """Codes from starts, latents and values."""
        return cls(*found, n_latents)

    def with_values(self, values: Tensor) -> "Codes":
        """The same entries with other values (m,)."""
        other = Codes(self.starts, self.latents, values, self.n_latents)
        other._order = self._order
        return other

    @property
    def order(self) -> tuple[Tensor, Tensor, Tensor]:
        """The entries in order of latent. Computed once for the gradients of both weights."""
        if not self._order:
            kernel = kernels.of(self.values)
            self._order.append(kernel.by_latent(self.starts, self.latents, self.n_latents))
        return self._order[0]

    @property
    def n_vectors(self) -> int:
        """How many vectors there are."""
        return len(self.starts) - 1

    @property
    def n_active(self) -> Tensor:
        """(b,) int64, active latents of each vector."""
        return self.starts.diff()

    @property
    def vectors(self) -> Tensor:
        """(m,) int64, vector of each entry."""
        return torch.repeat_interleave(self.n_active)

    def fired(self) -> Tensor:
        """(n,) bool, latents that are active in any vector."""
        return self.order[0].diff() > 0

    def compact(self) -> "Codes":
        """The same codes without unused space after the last entry. This waits for the GPU."""
        m = int(self.starts[-1])
        return Codes(self.starts, self.latents[:m], self.values[:m], self.n_latents)

    def below(self, width: int) -> "Codes":
        """The entries of the first ``width`` latents."""
        return self.where(self.latents < width)

    def where(self, kept: Tensor) -> "Codes":
        """The entries at which ``kept`` (m,) is true."""
        found = (self.starts, self.latents, self.values)
        return Codes.of(kernels.of(self.values).keep(*found, kept, self.n_latents), self.n_latents)


def few_above(pre: Tensor, bound: Tensor) -> Codes | None:
    """The elements of ``pre`` (b, n) above ``bound``, () or (n,), as codes without a gradient.

    None if there are so many that dense products are faster, or if counting would make the host
    wait.
    """
    pre, bound = pre.detach(), bound.detach()
    found = kernels.of(pre).above(pre, bound, int(SPARSE_SHARE * pre.numel()))
    return None if found is None else Codes.of(found, pre.shape[1])


def stacked(parts: list[Codes]) -> Codes:
    """The vectors of several codes of the same dictionary, one after the other."""
    n, found = parts[0].n_latents, [(part.starts, part.latents, part.values) for part in parts]
    return Codes.of(kernels.of(parts[0].values).joined(found, n), n)


class _Attach(torch.autograd.Function):
    """Pass on values of ``(u − b_dec) @ W_enc + b_enc``, and give them their gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        codes: Codes,
        u: Tensor,
        W_enc: Tensor,
        b_enc: Tensor,
        b_dec: Tensor,
    ) -> Tensor:
        ctx.codes = codes
        ctx.save_for_backward(u, W_enc, b_dec)
        return values.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        u, W_enc, b_dec = ctx.saved_tensors
        kernel = kernels.of(grad)
        order = ctx.codes.order
        grad_weight = kernel.sum_by_latent(order, grad, u - b_dec)
        ones = grad.new_ones(len(u), 1)
        grad_bias = kernel.sum_by_latent(order, grad, ones)[:, 0]
        # Rows of W_enc.T: one thread sums each output row, so the number of threads changes
        # nothing.
        grad_b_dec = -(grad_bias @ W_enc.T)
        return None, None, None, grad_weight.T, grad_bias, grad_b_dec


def attach(codes: Codes, u: Tensor, W_enc: Tensor, b_enc: Tensor, b_dec: Tensor) -> Codes:
    """Give codes that were selected without a gradient the gradient of their pre-activations.

    Args:
        codes: entries of ``(u − b_dec) @ W_enc + b_enc``.
        u: (b, d), takes no gradient.
        W_enc: (d, n); b_enc: (n,); b_dec: (d,).
    """
    return codes.with_values(_Attach.apply(codes.values, codes, u, W_enc, b_enc, b_dec))


def reconstruct_dense(
    z: Tensor, W_dec: Tensor, b_dec: Tensor, across: Across | None = None
) -> Tensor:
    """``W_decᵀ z + b_dec`` (b, d) from dense latents (b, n), of all processes."""
    if across is None:
        return kernels.of(z).affine(z, W_dec, b_dec)
    made = summed(kernels.of(z).affine(z, W_dec, torch.zeros_like(b_dec)), across)
    # All add the bias themselves, because some may have sparse codes. One has its gradient.
    return made + (b_dec if across.rank == 0 else b_dec.detach())


class _Reconstruct(torch.autograd.Function):
    """Mean square of ``u − W_decᵀ z − b_dec``, and this residual. All inputs but u get a
    gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        codes: Codes,
        u: Tensor,
        W_dec: Tensor,
        b_dec: Tensor,
        across: Across | None,
    ) -> tuple[Tensor, Tensor]:
        kernel, entries = kernels.of(u), (codes.starts, codes.latents)
        if across is None:
            found = kernel.reconstruct(*entries, values, W_dec, b_dec, u)
        else:
            rest = u - across.sum(kernel.decode(*entries, values, W_dec))
            # Nothing is left to decode: this gives the residual's products with our latents.
            found = kernel.reconstruct(*entries, torch.zeros_like(values), W_dec, b_dec, rest)
        residual, sums, products = found
        ctx.codes, ctx.across = codes, across
        ctx.mark_non_differentiable(residual)
        ctx.save_for_backward(values, residual, products)
        return ordered_sum(sums) / residual.numel(), residual

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        values, residual, products = ctx.saved_tensors
        factor = grad * (-2 / residual.numel())
        grad_weight = kernels.of(values).sum_by_latent(ctx.codes.order, factor * values, residual)
        grad_bias = once(factor * residual.sum(dim=0), ctx.across)
        return factor * products, None, None, grad_weight, grad_bias, None


def reconstruct(
    codes: Codes, u: Tensor, W_dec: Tensor, b_dec: Tensor, across: Across | None = None
) -> tuple[Tensor, Tensor]:
    """Mean over vectors and dimensions of (u − W_decᵀ z − b_dec)², and the residual itself.

    Args:
        codes: z of the vectors ``u`` (b, d).
        W_dec: (n, d); b_dec: (d,).
        across: the processes that each have some of the codes; None if this one has all.

    Returns:
        (), with gradients for all but u; and (b, d), without.
    """
    return _Reconstruct.apply(codes.values, codes, u, W_dec, b_dec, across)
