"""Runs the tower one batch ahead of what reads its outputs, so that a GPU needn't wait for the
host."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from saev.activations.artifact import Stream
from saev.activations.loading import ImageBatch
from saev.activations.towers.tower import Tower
from saev.core.errors import UserError


class Sent(NamedTuple):
    """Activations of one stream on their way to the host, in the stored type."""

    exact: Tensor
    """(r, …) float32, where the tower computed them."""
    converted: Tensor
    """(r, …) in the stored type, on the host; undefined until the copy has finished."""
    finite: Tensor
    """(r,) bool, on the host: whether all values of a row are finite."""

    def array(self, stream: Stream, rows: list[int]) -> np.ndarray:
        """The activations, once the copy has finished. bfloat16 becomes uint16.

        Args:
            stream: for the message.
            rows: (r,) row ids, for the message.

        Raises:
            UserError: a value is NaN or infinite, before or after the conversion.
        """
        if not bool(self.finite.all()):
            at = int(torch.nonzero(~self.finite)[0, 0])
            worst = float(self.exact[at].abs().max())
            if not np.isfinite(worst):
                raise UserError(
                    f"the tower gives NaN or infinite values ({stream.name}, row {rows[at]}): its "
                    f"weights are damaged, or belong to another model"
                )
            kind = self.converted.dtype
            raise UserError(
                f"the activation {worst:,.0f} of {stream.name}, row {rows[at]}, is too large for "
                f"{str(kind).removeprefix('torch.')} (at most {torch.finfo(kind).max:,.0f}): set "
                f"dtype to float32 or bfloat16"
            )
        if self.converted.dtype == torch.bfloat16:
            return self.converted.view(torch.int16).numpy().view(np.uint16)
        return self.converted.numpy()


def send(values: Tensor, dtype: str) -> Sent:
    """Convert float32 activations to the stored type, and begin to copy them to the host.

    Args:
        values: (r, d) or (r, patches, d) float32.
        dtype: ``float16``, ``float32`` or ``bfloat16``.
    """
    converted = values.to(getattr(torch, dtype))
    finite = torch.isfinite(converted.flatten(1)).all(dim=1)
    return Sent(values, _to_host(converted), _to_host(finite))


def stored(values: Tensor, dtype: str, stream: Stream, rows: list[int]) -> np.ndarray:
    """Convert float32 activations to the stored type, on the host. See `send` and `Sent.array`.

    Raises:
        UserError: a value is NaN or infinite, before or after the conversion.
    """
    sent = send(values, dtype)
    if values.device.type == "cuda":
        torch.cuda.current_stream(values.device).synchronize()
    return sent.array(stream, rows)


def _to_host(tensor: Tensor) -> Tensor:
    if tensor.device.type == "cpu":
        return tensor
    held = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return held.copy_(tensor, non_blocking=True)


class Pass(NamedTuple):
    """A batch, and what the tower gives for those of its images that were decoded."""

    batch: ImageBatch
    sent: dict[str, Sent]
    """By stream; empty if the tower didn't run."""
    copied: torch.cuda.Event | None
    """Set when the copies have finished; None on a CPU."""


def passes(
    tower: Tower, batches: Iterator[ImageBatch], dtype: str, skip_bad: bool, running: bool = True
) -> Iterator[Pass]:
    """Run the tower over batches, in order.

    Args:
        tower: on any device.
        batches: of decoded images.
        dtype: the stored type.
        skip_bad: whether to go on after an image that can't be read. Otherwise the tower stops
            running there, and the remaining batches have no outputs.
        running: false if it had stopped before.
    """
    before: Pass | None = None
    for batch in batches:
        running = running and (skip_bad or bool(batch.present.all()))
        now = _begin(tower, batch, dtype) if running else Pass(batch, {}, None)
        if before is not None:
            yield _copied(before)
        before = now
    if before is not None:
        yield _copied(before)


def _begin(tower: Tower, batch: ImageBatch, dtype: str) -> Pass:
    if not batch.present.any():
        return Pass(batch, {}, None)
    outputs = tower(torch.from_numpy(batch.pixels))
    sent = {}
    for stream in tower.streams:
        # Run the whole batch and select afterwards, so that a bad image changes no other.
        values = outputs[stream.name][: len(batch.present)]
        if not batch.present.all():
            values = values[torch.from_numpy(batch.present).to(values.device)]
        sent[stream.name] = send(values, dtype)
    copied = None
    if tower.device.type == "cuda":
        copied = torch.cuda.Event()
        copied.record()
    return Pass(batch, sent, copied)


def _copied(made: Pass) -> Pass:
    if made.copied is not None:
        made.copied.synchronize()
    return made
