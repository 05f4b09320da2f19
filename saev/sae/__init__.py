"""Sparse autoencoders: one file per architecture, one contract, one file format."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from saev.sae.base import Active, Forward, Sae
    from saev.sae.checkpoint import load, save
    from saev.sae.registry import build

__all__ = ["Active", "Forward", "Sae", "build", "load", "save"]


def __getattr__(name: str) -> object:
    """Import what the package offers when it is first used.

    So its kernels, and their tests and benchmarks, need PyTorch, Triton and Numba alone.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Import statements, so that they are in the digest of the code of whoever uses the package.
    from saev.sae import base, checkpoint, registry

    return next(vars(one)[name] for one in (base, checkpoint, registry) if name in vars(one))
