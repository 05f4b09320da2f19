"""Artifact of the `train` stage: names of its files, and the reader of its dictionary."""

from pathlib import Path
from typing import TYPE_CHECKING

from saev.core.errors import UserError
from saev.core.files import sha256_bytes
from saev.core.meta import META, read_meta

if TYPE_CHECKING:
    import torch

    from saev.sae import Sae

STAGE = "train"
CHECKPOINT, CURVE, PLOT = "checkpoint.safetensors", "train.jsonl", "curves.png"
HELD_OUT = "held_out.npy"
"""Rows of the held-out images, (h,) int64, ascending; only where `held_out_by` is set."""


def load(path: str | Path, device: "str | torch.device" = "cpu") -> "Sae":
    """Read the dictionary of a training, in evaluation mode and without gradients.

    Args:
        path: the directory of the training, or the checkpoint in it. The bytes are compared with
            the SHA-256 in ``meta.json`` beside it. Without a ``meta.json``, they aren't checked.
        device: where to put it.

    Raises:
        UserError: it is missing or altered, has a newer format, or isn't a checkpoint of saev.
    """
    from saev.sae import checkpoint

    path = Path(path)
    if path.is_dir():
        path = path / CHECKPOINT
    data = checkpoint.read(path)
    if (path.parent / META).is_file():
        meta, _ = read_meta(path.parent, STAGE)
        entry = next((e for e in meta["files"] if e["name"] == path.name), None)
        if entry and entry["sha256"] != sha256_bytes(data):
            raise UserError(
                f"{path} was altered after training: its SHA-256 isn't the one in "
                f"{path.parent / META}. Restore the file, or remove the directory and train again."
            )
    return checkpoint.parse(path, data, device)
