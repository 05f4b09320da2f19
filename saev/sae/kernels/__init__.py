"""The inner loops of sparse dictionaries: in plain PyTorch, and fast for each device.

Every implementation has the same functions on the same arrays. `of` is the one place that chooses.
Ragged codes of b vectors are ``starts`` (b + 1,), ``latents`` (m,) and ``values`` (m,). Vector i
has the entries from ``starts[i]`` to ``starts[i + 1]``. On a GPU, latents and values may be longer
than ``starts[-1]``, so that the host needn't wait to learn that number. The rest has latent n and
value 0.
"""

from functools import cache
from importlib.util import find_spec
from types import ModuleType

import torch
from torch import Tensor

from saev.core import logs
from saev.sae.kernels import cpu, plain

FAST_DTYPES = (torch.float32, torch.float64)
LONGEST = 200
"""Most characters of another library's error that are shown."""
OLDEST = (8, 0)
"""The first GPUs that multiply bfloat16 numbers themselves: Ampere, such as A100."""


def of(tensor: Tensor) -> ModuleType:
    """The implementation for tensors like this one."""
    if tensor.device.type == "cpu" and tensor.dtype in FAST_DTYPES:
        return cpu
    if (
        tensor.device.type == "cuda"
        and tensor.dtype == torch.float32
        and _has_kernels(tensor.device.index or 0)
    ):
        from saev.sae.kernels import gpu

        return gpu
    return plain


@cache
def _has_kernels(index: int) -> bool:
    """Whether our kernels run on this GPU. If they don't, say why, once."""
    if torch.version.hip is not None:
        why = "the fast kernels are for NVIDIA GPUs"
    elif find_spec("triton") is None:
        why = "Triton isn't installed"
    elif torch.cuda.get_device_capability(index) < OLDEST:
        why = f"{torch.cuda.get_device_name(index)} has no bfloat16 products of its own"
    elif refused := _refused(index):
        why = (
            f"Triton can't start a kernel ({refused}). It needs a C compiler (gcc), Python's "
            f"headers (python3-dev) and a folder that it can write (TRITON_CACHE_DIR)"
        )
    else:
        return True
    logs.say(f"warning: dictionaries run on plain PyTorch, which is slower: {why}")
    return False


def _refused(index: int) -> str | None:
    """What Triton says when it fails to start a kernel on this GPU; None if it starts it.

    It compiles the program that starts them, and finds out only then what it lacks.
    """
    from saev.sae.kernels import triton

    device = torch.device("cuda", index)
    try:
        starts = torch.tensor([0, 1], device=device)
        triton.decode(starts, starts[:1], starts[1:].float(), torch.ones(1, 16, device=device))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # of many kinds: of a compiler, of files, of the driver
        return f"{type(error).__name__}: {error}".splitlines()[0][:LONGEST]
    return None
