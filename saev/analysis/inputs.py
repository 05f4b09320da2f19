"""What an analysis looks at and with, opened and checked."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from saev import logs, sae
from saev.artifacts.activations import STAGE as ACTIVATIONS
from saev.artifacts.activations import Activations, Stream
from saev.artifacts.analysis import LabelTable
from saev.artifacts.meta import META, read_meta
from saev.artifacts.sae import STAGE as TRAIN
from saev.blocks import held_out_mask
from saev.errors import UserError
from saev.files import sha256_file

TOWER = ("model", "model_sha256", "weights", "weights_sha256", "weights_seed", "image_size")
"""Settings that say which tower looked at the pictures."""


class Inputs(NamedTuple):
    """A dictionary, the activations that it looks at, and the images' labels."""

    sae: sae.Sae
    activations: Activations
    stream: Stream
    labels: LabelTable
    other: bool
    """The dictionary was trained on other activations than these."""
    digests: dict[str, str]
    """SHA-256 of ``meta.json`` of the stages `train` and `activations`."""
    labels_sha256: str

    def splits(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Which of the images ``rows`` (r,) are in which split: (r,) bool by name."""
        if self.other:
            return {"other": np.ones(len(rows), bool)}
        settings = self.sae.metadata["settings"]
        held_out = held_out_mask(rows, settings.get("held_out", 0.0), settings.get("seed", 0))
        return {"train": ~held_out, "held_out": held_out}

    def centre(self) -> torch.Tensor:
        """The recorded mean of the stream in the dictionary's space: (d,) float32."""
        mean = torch.as_tensor(self.activations.stats(self.stream)["mean"], dtype=torch.float32)
        return self.sae.normalise(mean[None].to(self.sae.norm_mean.device))[0]


def open_inputs(
    settings: dict[str, Any],
    sae_folder: str | Path,
    activations_folder: str | Path,
    labels: str | Path,
    device: torch.device,
) -> Inputs:
    """Open everything, and check that it belongs together.

    Raises:
        UserError: something is missing or altered, or the dictionary doesn't fit the activations.
    """
    meta, train_digest = read_meta(sae_folder, TRAIN)
    activations = Activations(activations_folder, verify="sha256")
    dictionary = sae.load(sae_folder, device)
    other = meta["inputs"].get(ACTIVATIONS) != activations.digest
    if other and not settings.get("on"):
        raise UserError(
            f"{sae_folder} was trained on other activations than {activations_folder} holds (their "
            f"{META} has another SHA-256). Train again, or name the other images by `on:` in the "
            f"analysis."
        )
    stream = _stream(dictionary, activations)
    if other:
        _require_same_tower(Path(sae_folder), meta["inputs"].get(ACTIVATIONS), activations)
    table = LabelTable(labels)
    _require_labels(table, settings, activations)
    digests = {TRAIN: train_digest, ACTIVATIONS: activations.digest}
    return Inputs(dictionary, activations, stream, table, other, digests, sha256_file(labels))


def _stream(dictionary: sae.Sae, activations: Activations) -> Stream:
    stream = activations.streams.get(str(dictionary.stream))
    if stream is None:
        raise UserError(
            f"the dictionary was trained on {dictionary.stream}, which {activations.path} doesn't hold; "
            f"it holds: {', '.join(activations.streams)}. Record that layer and token there too."
        )
    if stream.d != dictionary.d:
        raise UserError(
            f"the dictionary takes vectors of width {dictionary.d}, but {stream.name} of "
            f"{activations.path} has width {stream.d}: it is another tower"
        )
    return stream


def _require_same_tower(sae_folder: Path, digest: str | None, activations: Activations) -> None:
    """Refuse activations of another tower than the dictionary was trained on."""
    folder = sae_folder.resolve().parent
    if not (folder / META).is_file():
        logs.say(
            f"{folder} holds no activations: can't compare the tower with that of the training"
        )
        return
    trained, found = read_meta(folder, ACTIVATIONS)
    if found != digest:
        raise UserError(
            f"{folder / META} isn't the one that {sae_folder} was trained on: train again"
        )
    here = activations.meta
    pairs = [(key, trained["settings"].get(key), here["settings"].get(key)) for key in TOWER]
    weights = "weights_sha256"
    pairs.append((weights, trained["summary"].get(weights), here["summary"].get(weights)))
    for key, ours, theirs in pairs:
        if ours != theirs:
            raise UserError(
                f"the dictionary was trained on a tower with {key} {ours}, but {activations.path} was "
                f"recorded with {theirs}: its latents would mean nothing there. Record the other "
                f"images with the same tower."
            )


def _require_labels(table: LabelTable, settings: dict[str, Any], activations: Activations) -> None:
    if table.n_images != activations.n_images:
        raise UserError(
            f"{table.path} has {table.n_images:,} rows, but {activations.path} is of "
            f"{activations.n_images:,} images: remove it and run again"
        )
    wanted = sorted(settings.get("labels", {}))
    if table.names != wanted:
        raise UserError(
            f"{table.path} holds the labels {table.names}, not {wanted}: remove it and run again"
        )
