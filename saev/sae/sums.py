"""Sums that are the same for any number of threads."""

from jaxtyping import Float
from torch import Tensor, nn


def ordered_sum(values: Float[Tensor, " b"]) -> Float[Tensor, ""]:
    """Sum a vector in an order that doesn't depend on threads (PyTorch splits long flat sums)."""
    chunk = 1024
    padded = nn.functional.pad(values, (0, -len(values) % chunk))
    return padded.view(-1, chunk).sum(dim=1).sum()
