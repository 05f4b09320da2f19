"""The state that a training resumes from: a file with weights and moments, and a growing curve."""

import json
import os
import zlib
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from saev.core import logs
from saev.core.errors import UserError
from saev.core.files import atomic_path, canonical_json
from saev.core.state import Held
from saev.train.artifact import CURVE

STATE = "state.safetensors"
KEY = "state"
TRANSPOSED = ".T"
"""Suffix of tensors that are stored transposed. That is their layout in memory, so nothing is
copied."""


class State:
    """A folder from which a training resumes after any interruption.

    On resuming, the curve is cut back to its length when the state was saved, so that no step
    appears twice.

    Args:
        held: the locked state of this training. Once another process has taken it over, nothing
            more is written: `append` and `save` raise UserError.
        device: the kind of device that computes, ``cpu`` or the model of the GPU.
    """

    def __init__(self, held: Held, device: str) -> None:
        self.device = device
        self.held, self.folder, self.curve = held, held.folder, held.folder / CURVE

    def load(self) -> tuple[dict[str, Tensor], int] | None:
        """Read the tensors and the number of steps done; None if there is nothing to resume from.

        Raises:
            UserError: the state belongs to another training, and may be its only copy.
        """
        path = self.folder / STATE
        if path.is_file():
            try:
                with safe_open(path, "pt") as file:
                    facts = json.loads(file.metadata()[KEY])
                    stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                of, step, curve_bytes, device = (
                    facts[key] for key in ("of", "step", "curve_bytes", "device")
                )
                short = curve_bytes - self.curve.stat().st_size
                reason = f"{self.curve.name} is {short:,} bytes too short for it"
                crc32 = facts["crc32"]
            except (SafetensorError, TypeError, ValueError, KeyError, OSError) as error:
                reason = f"it is damaged, {error!r}"
            else:
                if of != self.folder.name:
                    raise UserError(
                        f"{path} is the state of another training, {of}, not of "
                        f"{self.folder.name}: move it back into the folder of that name, or remove "
                        "it, and run again"
                    )
                whole = short <= 0 and crc32 == self._crc32(stored, curve_bytes)
                if short <= 0 and not whole:
                    reason = f"bits of it or of {self.curve.name} have changed"
                if whole:
                    if device != self.device:
                        logs.say(
                            f"warning: the first {step:,} steps ran on {device}, the others run on "
                            f"{self.device}: their rounding differs, so this dictionary is none "
                            f"that either would give alone"
                        )
                    os.truncate(self.curve, curve_bytes)
                    return {
                        name.removesuffix(TRANSPOSED): tensor.T
                        if name.endswith(TRANSPOSED)
                        else tensor
                        for name, tensor in stored.items()
                    }, step
            path.replace(path.with_suffix(".unusable"))
            logs.say(f"{path} can't be used ({reason}): starting from the first step")
        self.curve.write_bytes(b"")
        return None

    def append(self, line: dict[str, Any]) -> None:
        """Add a line to the curve."""
        self.held.require()
        with self.curve.open("a", encoding="utf-8") as handle:
            handle.write(canonical_json(line) + "\n")

    def lines(self) -> list[dict[str, Any]]:
        """The curve's lines."""
        return [json.loads(line) for line in self.curve.read_text().splitlines()]

    def save(self, tensors: dict[str, Tensor], step: int) -> None:
        """Save ``tensors`` after ``step`` steps, atomically."""
        self.held.require()
        with self.curve.open("rb") as handle:
            os.fsync(handle.fileno())
        kept = {}
        for name, tensor in tensors.items():
            here = tensor.detach().cpu()
            turned = here.dim() == 2 and not here.is_contiguous()
            kept[name + TRANSPOSED * turned] = (here.T if turned else here).contiguous()
        curve_bytes = self.curve.stat().st_size
        facts = {
            "of": self.folder.name,  # a digest of settings, inputs and code
            "step": step,
            "curve_bytes": curve_bytes,
            "device": self.device,
            "crc32": self._crc32(kept, curve_bytes),
        }
        with atomic_path(self.folder / STATE) as path:
            save_file(kept, path, {KEY: canonical_json(facts)})

    def _crc32(self, tensors: dict[str, Tensor], curve_bytes: int) -> int:
        """Checksum of tensors as they are stored, and of the curve that belongs to them.

        A SHA-256 would make saving a large dictionary several times slower.
        """
        with self.curve.open("rb") as handle:
            found = zlib.crc32(handle.read(curve_bytes))
        for name in sorted(tensors):
            values = tensors[name].reshape(-1).view(torch.uint8)
            found = zlib.crc32(values.numpy().data, zlib.crc32(name.encode(), found))
        return found
