"""Opens and checks the inputs of an analysis: the dictionary, the activations and the labels."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from saev import sae
from saev.activations.artifact import STAGE as ACTIVATIONS
from saev.activations.artifact import Activations, Stream
from saev.analyze.cells import NO_CELLS, Cells, cells
from saev.core import logs
from saev.core.errors import UserError
from saev.core.files import sha256_file
from saev.core.meta import META, read_meta
from saev.labels.artifact import STAGE as LABELS
from saev.labels.artifact import LabelTable, NoLabels, read_labels
from saev.settings.analysis import AnalysisSettings
from saev.train.artifact import HELD_OUT, load
from saev.train.artifact import STAGE as TRAIN

TOWER = ("model", "model_sha256", "weights", "weights_sha256", "weights_seed", "image_size")
"""Settings that say which tower looked at the images."""


class HeldOut(NamedTuple):
    """Images that a training has held out."""

    rows: np.ndarray
    """(h,) int64, ascending."""
    sha256: str
    """Of the file."""


class Inputs(NamedTuple):
    """A dictionary, the activations that it looks at, and the labels of the images."""

    sae: sae.Sae
    activations: Activations
    stream: Stream
    labels: LabelTable
    other: bool
    """Whether the dictionary was trained on other activations, and no image here is held out."""
    digests: dict[str, str]
    """SHA-256 of ``meta.json`` of the stages `train`, `activations`, and `labels` if it has any."""
    labels_sha256: str | None
    """Of the table of labels; None without labels."""
    held_out: HeldOut | None = None
    """The images that were held out, where the training says which."""

    def split_by(self) -> dict[str, Any]:
        """What the split depends on; empty if no image was held out."""
        if self.other:
            return {}
        grouped = {} if self.held_out is None else {"rows": self.held_out.sha256}
        return {"fraction": self.sae.settings.held_out, "seed": self.sae.settings.seed, **grouped}

    def splits(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """For each split, which of the images ``rows`` (r,) are in it: (r,) bool by name."""
        if self.other:
            return {"other": np.ones(len(rows), bool)}
        if self.held_out is not None:
            held_out = np.isin(rows, self.held_out.rows, assume_unique=True)
        else:
            held_out = self.activations.held_out(rows, **self.split_by())
        return {"train": ~held_out, "held_out": held_out}

    def cells(self) -> Cells:
        """How the patches of an image are divided to count where latents fire."""
        if self.stream.kind != "patches":
            return NO_CELLS
        lines, columns = self.activations.meta["summary"]["geometry"]["grid"]
        return cells((lines, columns))

    def centre(self) -> torch.Tensor:
        """The recorded mean of the stream, in the dictionary's space: (d,) float32."""
        mean = torch.as_tensor(self.activations.stats(self.stream)["mean"], dtype=torch.float32)
        return self.sae.normalise(mean[None].to(self.sae.norm_mean.device))[0]


def open_inputs(
    settings: AnalysisSettings,
    sae_folder: str | Path,
    activations_folder: str | Path,
    labels: str | Path | None,
    device: torch.device,
) -> Inputs:
    """Open everything and check that it fits together.

    Args:
        settings: the analysis' settings.
        sae_folder, activations_folder, labels: directories; None for an analysis without labels.
        device: where the dictionary runs.

    Raises:
        UserError: something is missing or altered, or the dictionary doesn't fit the activations.
    """
    meta, train_digest = read_meta(sae_folder, TRAIN)
    activations = Activations(activations_folder, verify="sha256")
    dictionary = load(sae_folder, device)
    other = meta["inputs"].get(ACTIVATIONS) != activations.digest
    if other and settings.on is None:
        raise UserError(
            f"{sae_folder} was trained on other activations than those in {activations_folder} "
            f"(the SHA-256 of their {META} differs). Train again, or name the other images "
            f"with `on:` in the analysis."
        )
    stream = _stream(dictionary, activations)
    if other:
        _require_same_tower(Path(sae_folder), meta["inputs"].get(ACTIVATIONS), activations)
    digests = {TRAIN: train_digest, ACTIVATIONS: activations.digest}
    table: LabelTable = NoLabels(activations.n_images)
    labels_sha256 = None
    if labels is not None:
        table, digests[LABELS] = read_labels(labels)
        labels_sha256 = sha256_file(table.path)
    _require_labels(table, settings, activations, labels)
    held_out = _held_out(Path(sae_folder), meta)
    other = other or _unseen(meta, dictionary)
    return Inputs(dictionary, activations, stream, table, other, digests, labels_sha256, held_out)


def _held_out(sae_folder: Path, meta: dict[str, Any]) -> HeldOut | None:
    """The rows that a training has held out by groups; None if it held out image by image."""
    entry = next((e for e in meta["files"] if e["name"] == HELD_OUT), None)
    if entry is None:
        return None
    path = sae_folder / HELD_OUT
    if not path.is_file() or sha256_file(path) != entry["sha256"]:
        raise UserError(f"{path} is missing or was altered after training: run the workflow again")
    return HeldOut(np.load(path, allow_pickle=False), entry["sha256"])


def _unseen(meta: dict[str, Any], dictionary: sae.Sae) -> bool:
    """Whether a dictionary comes from elsewhere, so that no image here is one of its training."""
    return bool(meta["summary"].get("converted")) and not dictionary.settings.held_out


def _stream(dictionary: sae.Sae, activations: Activations) -> Stream:
    stream = activations.streams.get(str(dictionary.stream))
    if stream is None:
        raise UserError(
            f"the dictionary was trained on {dictionary.stream}, but {activations.path} holds "
            f"only: {', '.join(activations.streams)}. Record that layer and token there too."
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
            f"{folder} holds no activations, so the tower can't be compared with that of the "
            "training"
        )
        return
    trained, found = read_meta(folder, ACTIVATIONS)
    if found != digest:
        raise UserError(
            f"{folder / META} has changed since {sae_folder} was trained on it: train again"
        )
    here = activations.meta
    pairs = [(key, trained["settings"].get(key), here["settings"].get(key)) for key in TOWER]
    weights = "weights_sha256"
    pairs.append((weights, trained["summary"].get(weights), here["summary"].get(weights)))
    for key, ours, theirs in pairs:
        if ours != theirs:
            raise UserError(
                f"the dictionary was trained on a tower with {key} {ours}, but {activations.path} "
                f"was recorded with {theirs}: its latents would mean nothing there. Record the "
                f"other images with the same tower."
            )


def _require_labels(
    table: LabelTable,
    settings: AnalysisSettings,
    activations: Activations,
    folder: str | Path | None,
) -> None:
    if table.n_images != activations.n_images:
        raise UserError(
            f"{folder} has labels of {table.n_images:,} images, but {activations.path} has "
            f"{activations.n_images:,}: record the images of these labels, or read the labels of "
            f"these images"
        )
    wanted = sorted(settings.labels)
    if table.names != wanted:
        holds = f"{folder} holds the labels {table.names}" if folder else "no labels are given"
        raise UserError(f"{holds}, but the settings name {wanted}: give --labels their directory")
