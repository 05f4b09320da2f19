"""The inner loops of sparse dictionaries: in plain PyTorch, and fast for each device.

Every implementation has the same functions on the same arrays. `of` is the one place that chooses.
Ragged codes of b vectors are ``starts`` (b + 1,), ``latents`` (m,) and ``values`` (m,). Vector i
has the entries from ``starts[i]`` to ``starts[i + 1]``. On a GPU, latents and values may be longer
than ``starts[-1]``, so that the host needn't wait to learn that number. The rest has latent n and
value 0.
"""

from importlib.util import find_spec
from types import ModuleType

import torch
from torch import Tensor

from saev.sae.kernels import cpu, plain

FAST_DTYPES = (torch.float32, torch.float64)


def of(tensor: Tensor) -> ModuleType:
    """The implementation for tensors like this one."""
    if tensor.device.type == "cpu" and tensor.dtype in FAST_DTYPES:
        return cpu
    if tensor.device.type == "cuda" and tensor.dtype == torch.float32 and find_spec("triton"):
        from saev.sae.kernels import gpu

        return gpu
    return plain
