"""Where a job runs: device and threads."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from saev.core import gpus, logs
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


def job_device(name: str, n: int = 1) -> "torch.device":
    """The device called ``name`` for a job. GPUs are this job's alone.

    Args:
        name: as for `torch_device`.
        n: how many GPUs it takes; 0 if the process that started it has taken them.

    Raises:
        UserError: as `torch_device`, or there are fewer GPUs.
    """
    if name != "cpu":
        gpus.take(n)
    device = torch_device(name)
    if name == "auto" and device.type == "cpu":
        if Path("/dev/nvidiactl").exists() or gpus.present():
            logs.say(
                f"warning: this machine has GPUs, but {_why_no_cuda()}: computing on the processor"
            )
        elif other := _other_gpu():
            logs.say(f"saev doesn't use {other}: computing on the processor")
    named = (
        f"the GPU {os.environ.get(gpus.VISIBLE, 0)}" if device.type == "cuda" else "the processor"
    )
    logs.note(f"computing on {named}")
    return device


def _other_gpu() -> str | None:
    """The kind of GPU here that PyTorch could use and saev doesn't."""
    import torch

    if torch.backends.mps.is_available():
        return "the GPU of this Mac (MPS)"
    return "Intel's GPUs (XPU)" if torch.xpu.is_available() else None


def _why_no_cuda() -> str:
    import torch

    if torch.version.cuda is None:
        return f"PyTorch {torch.__version__} was built without CUDA"
    given = os.environ.get(gpus.VISIBLE)
    if given is not None and not gpus.present():
        return f"{gpus.VISIBLE} is {given!r}, which names none of them"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return f"PyTorch can't use them ({str(error).splitlines()[0]})"
    return "PyTorch sees none"


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
