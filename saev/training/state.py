"""The resumable state of a training: one file for the weights and moments, one that grows for the curve."""

import json
import os
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from saev import logs
from saev.files import canonical_json, write_bytes

STATE, CURVE = "state.safetensors", "train.jsonl"
KEY = "state"


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
        """Read tensors and number of steps done; None if there is nothing to go on from."""
        path = self.folder / STATE
        if path.is_file():
            data = path.read_bytes()
            try:
                tensors = safetensors.torch.load(data)
                header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
                facts = json.loads(header["__metadata__"][KEY])
                if facts["of"] != self.folder.name:
                    raise ValueError(f"a state of another training, {facts['of']}")
                if self.curve.stat().st_size >= facts["curve_bytes"]:
                    os.truncate(self.curve, facts["curve_bytes"])
                    return tensors, facts["step"]
            except (SafetensorError, ValueError, KeyError, OSError) as error:
                logs.note(f"{path}: {error!r}")
                path.replace(path.with_suffix(".unusable"))
            logs.say(f"{path} can't be used: starting from the first step")
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
        kept = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
        write_bytes(self.folder / STATE, safetensors.torch.save(kept, {KEY: canonical_json(facts)}))
