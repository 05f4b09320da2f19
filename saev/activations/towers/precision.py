"""How exactly products are computed: in float32, or with fewer bits as a setting says.

TF32 has only 10 bits of mantissa, as few as float16. PyTorch's switches for it apply to the whole
process, so saev changes them during a computation and restores them afterwards.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from threading import Condition
from typing import Any, Literal

import torch
from torch import nn

Precision = Literal["float32", "tf32", "bfloat16"]

_changed = Condition()
_users = 0
_used = "ieee"
_undo = ExitStack()


@contextmanager
def exact_float32(device: torch.device) -> Iterator[None]:
    """Compute without TF32 on ``device``, even if the calling program allows it."""
    with _float32_products(device, "ieee"):
        yield


@contextmanager
def computing(device: torch.device, precision: Precision) -> Iterator[None]:
    """Compute products on ``device`` as ``precision`` says. CPUs have no TF32."""
    if precision == "bfloat16":
        # PyTorch's copies of weights in bfloat16 would be made anew each time: see `narrowed`.
        with torch.autocast(device.type, torch.bfloat16, cache_enabled=False):
            yield
    else:
        with _float32_products(device, "tf32" if precision == "tf32" else "ieee"):
            yield


def narrowed(module: nn.Module) -> None:
    """Convert the weights of a tower's products to bfloat16, in place, for `computing`.

    The residual stream stays in float32: blocks add to it, so it would lose bits in each. That
    needs float32 patches from the first layer.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.MultiheadAttention | nn.Conv2d):
            for weights in part.parameters(recurse=False):
                weights.data = weights.data.to(torch.bfloat16)
        if isinstance(part, nn.Conv2d):
            part.register_forward_hook(lambda _, inputs, output: output.float())


@contextmanager
def _float32_products(device: torch.device, how: Literal["ieee", "tf32"]) -> Iterator[None]:
    """Compute products of float32 ``how``. Several threads may use it at once, also nested; those
    that want the other way wait."""
    global _users, _used
    if device.type != "cuda":
        yield
        return
    with _changed:
        _changed.wait_for(lambda: not _users or _used == how)
        if not _users:
            _used = how
            _switch(how, _undo)
        _users += 1
    try:
        yield
    finally:
        with _changed:
            _users -= 1
            if not _users:
                _undo.close()
                _changed.notify_all()


def _switch(how: str, undo: ExitStack) -> None:
    """Switch TF32 on or off for products and convolutions. ``undo`` restores every switch."""
    every: Any = torch.backends
    products, products_on_cpu = every.cuda.matmul, every.mkldnn.matmul

    def wrong(switch: Any) -> bool:
        return (switch.fp32_precision == "tf32") != (how == "tf32")

    if how == "ieee" and wrong(products) and every.fp32_precision == "none":
        # If the program used the older switch, it must agree with the new ones: PyTorch raises an
        # error when anybody reads switches that disagree. Here too, if they already disagree.
        with suppress(RuntimeError):
            older = torch.get_float32_matmul_precision()
            _restore(products_on_cpu, undo)
            undo.callback(torch.set_float32_matmul_precision, older)
            torch.set_float32_matmul_precision("highest")
    _restore(every, undo)
    every.fp32_precision = how
    # From the general to the special switch. One that isn't set returns the value of the more
    # general one, so one that still says something else was set itself.
    for switch in (every.cudnn, products, every.cudnn.conv):
        if wrong(switch):
            _restore(switch, undo)
            switch.fp32_precision = how


def _restore(switch: Any, undo: ExitStack) -> None:
    undo.callback(setattr, switch, "fp32_precision", switch.fp32_precision)
