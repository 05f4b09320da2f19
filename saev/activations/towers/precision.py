"""Exact float32 products on GPUs, even if the calling program allows TF32.

TF32 has only 10 bits of mantissa, as few as float16. PyTorch's switches for it apply to the whole
process, so saev changes them during a computation and restores them afterwards.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from threading import Lock
from typing import Any

import torch

_lock = Lock()
_users = 0
_undo = ExitStack()


@contextmanager
def exact_float32(device: torch.device) -> Iterator[None]:
    """Compute without TF32 on ``device``. Several threads may use it at once, also nested."""
    global _users
    if device.type != "cuda":
        yield
        return
    with _lock:
        if not _users:
            _switch_off(_undo)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _undo.close()


def _switch_off(undo: ExitStack) -> None:
    """Switch TF32 off for products and convolutions. ``undo`` restores every changed switch."""
    every: Any = torch.backends
    products, products_on_cpu = every.cuda.matmul, every.mkldnn.matmul
    if products.fp32_precision == "tf32" and every.fp32_precision == "none":
        # If the program used the older switch, it must agree with the new ones: PyTorch raises an
        # error when anybody reads switches that disagree. Here too, if they already disagree.
        with suppress(RuntimeError):
            older = torch.get_float32_matmul_precision()
            _restore(products_on_cpu, undo)
            undo.callback(torch.set_float32_matmul_precision, older)
            torch.set_float32_matmul_precision("highest")
    _restore(every, undo)
    every.fp32_precision = "ieee"
    # From the general to the special switch. One that isn't set returns the value of the more
    # general one, so one that still says tf32 was set itself.
    for switch in (every.cudnn, products, every.cudnn.conv):
        if switch.fp32_precision == "tf32":
            _restore(switch, undo)
            switch.fp32_precision = "ieee"


def _restore(switch: Any, undo: ExitStack) -> None:
    undo.callback(setattr, switch, "fp32_precision", switch.fp32_precision)
