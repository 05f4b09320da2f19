"""The resumable state of a training: one file for the weights and moments, one that grows for the curve."""

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from saev import logs
from saev.errors import UserError
from saev.files import atomic_path, canonical_json

STATE, CURVE = "state.safetensors", "train.jsonl"
KEY = "state"
TRANSPOSED = ".T"
"""Ends the names of tensors that are kept transposed: as they lie in memory, so that none is copied."""


class State:
    """A folder from which training goes on after any interruption.

    The curve is cut back to its length at the time of the state, so that resumed steps don't appear
    twice.

    Args:
        folder: the locked folder of this training.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.curve = folder, folder / CURVE

    def load(self) -> tuple[dict[str, Tensor], int] | None:
        """Read tensors and number of steps done; None if there is nothing to go on from.

        Raises:
            UserError: the state is one of another training, which may be the only copy.
        """
        path = self.folder / STATE
        if path.is_file():
            try:
                with safe_open(path, "pt") as file:
                    facts = json.loads(file.metadata()[KEY])
                    tensors = {
                        name.removesuffix(TRANSPOSED): file.get_tensor(name).T
                        if name.endswith(TRANSPOSED)
                        else file.get_tensor(name)
                        for name in file.keys()  # noqa: SIM118
                    }
                of, step, curve_bytes = (facts[key] for key in ("of", "step", "curve_bytes"))
                short = curve_bytes - self.curve.stat().st_size
                reason = f"{self.curve.name} is {short:,} bytes too short for it"
            except (SafetensorError, TypeError, ValueError, KeyError, OSError) as error:
                reason = f"it is damaged, {error!r}"
            else:
                if of != self.folder.name:
                    raise UserError(
                        f"{path} is the state of another training, {of}, not of {self.folder.name}: move it back "
                        f"into the folder of that name, or remove it, and run again"
                    )
                if short <= 0:
                    os.truncate(self.curve, curve_bytes)
                    return tensors, step
            path.replace(path.with_suffix(".unusable"))
            logs.say(f"{path} can't be used ({reason}): starting from the first step")
        self.curve.write_bytes(b"")
        return None

    def append(self, line: dict[str, Any]) -> None:
        """Add a line to the curve."""
        with self.curve.open("a", encoding="utf-8") as handle:
            handle.write(canonical_json(line) + "\n")

    def lines(self) -> list[dict[str, Any]]:
        """The curve's lines."""
        return [json.loads(line) for line in self.curve.read_text().splitlines()]

    def save(self, tensors: dict[str, Tensor], step: int) -> None:
        """Keep ``tensors`` after ``step`` steps, atomically."""
        with self.curve.open("rb") as handle:
            os.fsync(handle.fileno())
        # The folder is called by a digest of settings, inputs and code.
        facts = {"of": self.folder.name, "step": step, "curve_bytes": self.curve.stat().st_size}
        kept = {}
        for name, tensor in tensors.items():
            here = tensor.detach().cpu()
            turned = here.dim() == 2 and not here.is_contiguous()
            kept[name + TRANSPOSED * turned] = (here.T if turned else here).contiguous()
        with atomic_path(self.folder / STATE) as path:
            save_file(kept, path, {KEY: canonical_json(facts)})
