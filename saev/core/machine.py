"""Where a job runs: device and threads."""

import os
from typing import TYPE_CHECKING

from saev.core.errors import UserError

if TYPE_CHECKING:
    import torch


def torch_device(name: str = "auto") -> "torch.device":
    """The device called ``name``; ``auto`` is a GPU if there is one.

    Raises:
        UserError: ``name`` is ``cuda`` but there is no GPU.
    """
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("compute.device is cuda, but PyTorch sees no GPU here: use auto or cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def set_threads(n: int) -> None:
    """Let PyTorch compute with ``n`` threads."""
    import torch

    torch.set_num_threads(max(1, n))


def ask_for_reproducible_products() -> None:
    """Make MKL's matrix products independent of the number of threads, bit by bit.

    Call it in a program before its first product, when MKL reads the variable. Without it, MKL
    splits products with few rows or columns along their inner dimension on processors with AVX-512.
    Measurements show no loss of speed.
    """
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
