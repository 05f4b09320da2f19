"""Runs the tower of a recording again over some of its images, as they are or with changes."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saev.activations.artifact import Activations, Stream
from saev.activations.loading import BATCH, read_image
from saev.activations.towers.again import recorded_tower
from saev.activations.towers.splice import spliced
from saev.activations.towers.tower import Tower, normalise
from saev.core.errors import UserError
from saev.core.progress import Progress
from saev.images.artifact import Images
from saev.images.sources.source import Entry

RowChange = Callable[[Tensor, slice], Tensor]
"""Other vectors (b, n_patches, d) for those of a stream, of the images at these places."""


class Rerun:
    """The tower that made a recording, and the images that it saw.

    Args:
        activations: the recording; images: directory of the images.
        device: where the tower runs; workers: threads that decode.

    Raises:
        UserError: the images or the tower's weights are gone, or aren't those of the recording.
    """

    def __init__(
        self, activations: Activations, images: Path, device: torch.device, workers: int
    ) -> None:
        self.activations, self.images, self.workers = activations, Images(images), workers
        if activations.meta["inputs"].get("images") not in (None, self.images.digest):
            raise UserError(f"{activations.path} wasn't recorded from the images in {images}")
        self.tower: Tower = recorded_tower(activations.meta, activations.path, str(device))
        self._kept: tuple[np.ndarray, Tensor] | None = None

    def original(self, rows: np.ndarray, stream: Stream) -> Tensor:
        """The tower's output for images ``rows`` (b,), ascending: (b, e) float64 on the CPU.

        It is kept, as several metrics ask for that of the same images.
        """
        if self._kept is None or not np.array_equal(self._kept[0], rows):
            self._kept = rows, self.outputs(rows, stream, {"original": None})["original"]
        return self._kept[1]

    def outputs(
        self, rows: np.ndarray, stream: Stream, changes: Mapping[str, RowChange | None]
    ) -> dict[str, Tensor]:
        """The tower's output for images ``rows`` (b,), ascending, under each change.

        Args:
            stream: which vectors are changed; changes: by name. None changes nothing.

        Returns:
            (b, e) float64 on the CPU, by name.
        """
        found: dict[str, list[Tensor]] = {name: [] for name in changes}
        progress = Progress(len(rows), "images", "running the tower")
        done = 0
        for n, pixels in self._batches(rows):
            inputs = normalise(torch.from_numpy(pixels).to(self.tower.device), self.tower.geometry)
            images = slice(done, done + n)
            for name, change in changes.items():

                def use(x: Tensor, change: RowChange | None = change, at: slice = images) -> Tensor:
                    return change(x, at) if change else x

                output = spliced(self.tower, inputs, stream, use)
                found[name].append(output[:n].double().cpu())
            progress.update(n)
            done += n
        return {name: torch.cat(parts) for name, parts in found.items()}

    def pixels(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """What the tower saw of images ``rows`` (b,), ascending: (h, w, 3) uint8 each.

        Raises:
            UserError: an image is gone, or isn't the one that was recorded.
        """
        with ThreadPoolExecutor(max(1, self.workers)) as pool:
            for start in range(0, len(rows), BATCH):
                here = rows[start : start + BATCH]
                # Several threads can't read one parquet file.
                entries = self.images.entries(here.tolist())
                records = self.activations.take_records(here)
                yield from pool.map(self._pixels, entries, records)

    def _batches(self, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Number of images and pixels (BATCH, h, w, 3) uint8 of each batch; zeros fill it up."""
        side = self.tower.geometry.image_size
        images = self.pixels(rows)
        while held := list(islice(images, BATCH)):
            pixels = np.zeros((BATCH, side, side, 3), np.uint8)
            pixels[: len(held)] = held
            yield len(held), pixels

    def _pixels(self, entry: Entry, record: dict[str, Any]) -> np.ndarray:
        image = read_image(self.images, entry, self.tower.geometry)
        if image.pixels is None or image.record["sha256"] != record["sha256"]:
            raise UserError(
                f"{entry.key} (row {entry.row}) of {self.images.source.where} has changed or "
                f"vanished since it was recorded: restore it, or record again"
            )
        return image.pixels
