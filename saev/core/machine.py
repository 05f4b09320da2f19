"""Where a job runs: device and threads."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from saev.core import gpus, logs
from saev.core.errors import UserError

if TYPE_CHECKING:
    import torch


def torch_device(name: str = "auto") -> "torch.device":
    """The device called ``name``; ``auto`` is a GPU if PyTorch can use one.

    Raises:
        UserError: ``name`` is ``cuda``, but PyTorch can use no GPU.
    """
    import torch

    why = "" if name == "cpu" else _why_no_cuda()
    if why and name == "cuda":
        raise UserError(
            f"compute.device is cuda, but PyTorch can use no GPU here: {why}. Mend that, or use "
            f"auto or cpu"
        )
    return torch.device("cpu" if why or name == "cpu" else "cuda")


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
    if device.type == "cuda":
        import torch

        # Some containers allow TF32 by a variable, and PyTorch obeys. Towers have a setting for it.
        torch.set_float32_matmul_precision("highest")
        amd = torch.version.hip is not None
        (logs.say if amd else logs.note)(f"computing on {kind(device)}{' (ROCm)' * amd}")
        return device
    if name == "auto":
        if Path("/dev/nvidiactl").exists() or gpus.present():
            logs.say(
                f"warning: this machine has GPUs, but {_why_no_cuda()}: computing on the processor"
            )
        elif other := _other_gpu():
            logs.say(f"saev doesn't use {other}: computing on the processor")
    logs.note("computing on the processor")
    return device


def kind(device: "torch.device") -> str:
    """What a device is, as far as rounding depends on it: ``cpu``, or the model of a GPU."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _other_gpu() -> str | None:
    """The kind of GPU here that PyTorch could use and saev doesn't."""
    import torch

    if torch.backends.mps.is_available():
        return "the GPU of this Mac (MPS)"
    return "Intel's GPUs (XPU)" if torch.xpu.is_available() else None


def _why_no_cuda() -> str | None:
    """Why PyTorch can't compute on a GPU here; None if it can."""
    import torch

    if torch.cuda.is_available():
        return _too_old()
    if torch.version.cuda is None and torch.version.hip is None:
        return f"PyTorch {torch.__version__} was built without CUDA"
    given = os.environ.get(gpus.VISIBLE)
    if given is not None and not gpus.present():
        return f"{gpus.VISIBLE} is {given!r}, which names no GPU of this machine"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:  # it knows a driver that is missing or too old
        return str(error).splitlines()[0].rstrip(".")
    return "it sees none"


def _too_old() -> str | None:
    """Whether PyTorch has no code for this GPU, of which it says nothing before the first use."""
    import torch

    built = [re.match(r"(sm|compute)_(\d+)(\d)", name) for name in torch.cuda.get_arch_list()]
    known = [(found[1], int(found[2]), int(found[3])) for found in built if found]
    here = torch.cuda.get_device_capability()
    # A program for 8.0 runs on 8.6 too; one for "compute" is translated for any later GPU.
    if not known or any(
        (major, minor) <= here and (kind == "compute" or major == here[0])
        for kind, major, minor in known
    ):
        return None
    return (
        f"PyTorch {torch.__version__} has no code for {torch.cuda.get_device_name()} (compute "
        f"capability {here[0]}.{here[1]}): install one that has, such as an older one"
    )


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
