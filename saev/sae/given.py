"""Checks what a program gives to a dictionary, and says how to mend it."""

from typing import Any

import torch
from torch import Tensor

from saev.core.errors import UserError


def device_of(given: str | torch.device) -> torch.device:
    """The device of a name such as ``cpu`` or ``cuda``.

    Raises:
        UserError: there is no such device here.
    """
    try:
        device = torch.device(given)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ValueError, TypeError) as error:
        why = str(error).partition("\n")[0].rstrip(".")
        raise UserError(
            f"device: PyTorch can't use {given!r} here: give cpu, or cuda on a machine with a GPU. "
            f"It says: {why}"
        ) from error
    return device


def rows_of(given: Any, width: int, like: Tensor, what: str) -> Tensor:
    """The vectors in ``given``, one in each row, in float32.

    Args:
        given: (…, width) floating-point numbers.
        width: how many numbers a vector has.
        like: a parameter of the dictionary, for its device and type.
        what: what the vectors are, for messages.

    Raises:
        UserError: it is no tensor, or has another width, type or device, or isn't finite.
    """
    if not isinstance(given, Tensor):
        hint = "torch.from_numpy(x)" if type(given).__module__ == "numpy" else "torch.tensor(x)"
        raise UserError(f"{what} must be a tensor, not a {type(given).__name__}: give {hint}")
    shape = tuple(given.shape)
    if not shape or shape[-1] != width:
        near = f": give x.movedim({shape.index(width)}, -1)" if width in shape else ""
        raise UserError(
            f"{what} have the shape {shape}, but the last size must be {width}, the width of this "
            f"dictionary's {what}{near}"
        )
    if not given.is_floating_point():
        raise UserError(f"{what} must be floating-point numbers, not {given.dtype}: give x.float()")
    if given.device != like.device:
        raise UserError(
            f"{what} are on {given.device}, the dictionary on {like.device}: give "
            f"x.to('{like.device}')"
        )
    rows = given.reshape(-1, width).to(like.dtype)
    if not bool(torch.isfinite(rows.detach()).all()):
        first = int((~torch.isfinite(rows.detach()).all(dim=1)).nonzero()[0, 0])
        raise UserError(
            f"{what} hold NaN or infinite values, first in vector {first} of {len(rows):,}: leave "
            f"such vectors out, or find out where they come from"
        )
    return rows
