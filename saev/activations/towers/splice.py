"""Runs a tower with other activations in one of its streams."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from saev.activations.artifact import Stream
from saev.activations.towers.precision import computing
from saev.activations.towers.tower import Tower
from saev.core.errors import UserError

Change = Callable[[Tensor], Tensor]
"""Other vectors (b, n_patches, d) for those of a stream, float32."""


@torch.no_grad()
def spliced(
    tower: Tower, inputs: Float[Tensor, "b 3 h w"], stream: Stream, change: Change
) -> Float[Tensor, "b e"]:
    """The tower's output if ``change`` replaces the vectors of a stream. Other tokens pass
    untouched.

    Args:
        inputs: normalised images, on the tower's device.
        stream: which vectors to replace: of a block, or the output itself.
        change: gives the vectors that take their place.

    Raises:
        UserError: the tower's blocks don't give tokens that can be replaced.
    """
    if stream.layer is None:
        with computing(tower.device, tower.precision):
            output = tower.backbone.module(inputs)
        return change(output.float()[:, None])[:, 0]
    block, batch_first = _block(tower, stream.layer)

    def hook(module: nn.Module, given: Any, output: Any) -> Tensor:
        if not isinstance(output, Tensor) or output.ndim != 3:
            raise _not_spliceable(tower)
        tokens = (output if batch_first else output.transpose(0, 1)).clone()
        # The class token comes first, registers may follow, patches come last.
        here = slice(0, 1) if stream.kind == "cls" else slice(-stream.n_patches, None)
        tokens[:, here] = change(tokens[:, here].float()).to(tokens.dtype)
        return tokens if batch_first else tokens.transpose(0, 1)

    handle = block.register_forward_hook(hook)
    try:
        with computing(tower.device, tower.precision):
            return tower.backbone.module(inputs).float()
    finally:
        handle.remove()


def _block(tower: Tower, layer: int) -> tuple[nn.Module, bool]:
    """A block, and whether its tokens are (b, tokens, d), not (tokens, b, d)."""
    module: Any = tower.backbone.module
    inner = getattr(module, "trunk", module)
    if hasattr(inner, "transformer"):
        return inner.transformer.resblocks[layer], inner.transformer.batch_first
    if hasattr(inner, "blocks"):
        return inner.blocks[layer], True
    raise _not_spliceable(tower)


def _not_spliceable(tower: Tower) -> UserError:
    return UserError(
        f"{tower.model} can't be run with other activations: its blocks don't give one tensor of "
        f"tokens"
    )
