"""Runs new images through the tower and the dictionary of a run, in memory."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open

from saev.activations import artifact as recorded
from saev.activations.artifact import Stream, to_float32
from saev.activations.forward import stored
from saev.activations.loading import BATCH
from saev.activations.towers.again import recorded_tower
from saev.activations.towers.precision import exact_float32
from saev.activations.towers.splice import spliced
from saev.activations.towers.tower import normalise
from saev.analyze.accumulate import batch_vectors, padded
from saev.analyze.artifact import LATENTS, Analysis
from saev.analyze.ordered import in_order, one_thread
from saev.api.found import Found, Lens, rgb_of
from saev.api.places import dictionary_of, folder_of, latent_number, require_input
from saev.api.run import Run, load
from saev.core import shown
from saev.core.errors import UserError
from saev.core.meta import META, read_meta
from saev.evaluate.edit import How, edited
from saev.images import artifact as listed
from saev.images.damage import BadImage
from saev.train import artifact as trained


class Explorer:
    """The tower and the dictionary of a run, for images that weren't recorded.

    Args:
        path: a run from `open_run`, or the directory of a run or of a dictionary.
        device: where both run. On the same kind of device as the run, an image gives exactly the
            numbers of the run.

    Attributes:
        path: directory of the dictionary.
        sae: the dictionary; tower: the tower; stream: the activations that the dictionary takes.

    Raises:
        UserError: the directory, the dictionary, its activations' `meta.json` or the tower's
            weights are missing, were altered, or aren't the ones that were used.
    """

    def __init__(self, path: Run | str | Path, device: str = "cpu") -> None:
        given = folder_of(path).resolve()
        folder = self.path = dictionary_of(given)
        training, _ = read_meta(folder, trained.STAGE)
        self._recording, digest = read_meta(folder.parent, recorded.STAGE)
        require_input(training, recorded.STAGE, digest, folder.parent, folder)
        images = folder.parent.parent
        listing = read_meta(images, listed.STAGE)[0] if (images / META).is_file() else {}
        gray_range = listing.get("settings", {}).get("gray_range")
        self.sae = load(folder, device)
        self.tower = recorded_tower(self._recording, folder.parent, device)
        self.stream: Stream = next(s for s in self.tower.streams if s.name == self.sae.stream)
        largest = _largest_of(given) if given != folder else None
        self._lens = Lens(self.tower.geometry, gray_range, largest)

    def __repr__(self) -> str:
        return shown.line("explorer", self.path.name, self._figures(), str(self.path))

    def _repr_html_(self) -> str:
        return shown.card("explorer", self.path.name, self._figures(), note=str(self.path))

    def _figures(self) -> dict[str, object]:
        return {
            "tower": self.tower.model,
            "pixels": self.tower.geometry.image_size,
            "sees": self.stream.name,
            "dictionary": self.sae.architecture,
            "latents": self.sae.n_latents,
            "on": self.tower.device.type,
        }

    def encode_images(self, images: Iterable[Image.Image]) -> list[Found]:
        """Find the latents that fire on images.

        They are decoded, cropped, run through the tower and rounded just as recorded images are.

        Args:
            images: images of Pillow, of any mode and size.

        Returns:
            what fires on each image, in the same order.

        Raises:
            UserError: something isn't an image, can't be decoded, or gives activations that don't
                fit into the recorded type.
        """
        found: list[Found] = []
        for pixels in self._batches(images):
            found += self._found(self._vectors(pixels, len(found)), len(pixels))
        return found

    def edit(
        self, images: Iterable[Image.Image], latents: Mapping[int, float], how: How = "scale"
    ) -> np.ndarray:
        """The tower's output for images in which some latents have other values.

        What the dictionary misses of an activation stays in it, so a factor of 1 changes nothing.

        Args:
            images: images of Pillow, of any mode and size.
            latents: a number for each latent to change.
            how: ``scale`` multiplies a latent where it fires (0 ablates it), ``set`` gives it this
                value on every vector.

        Returns:
            (images, e) float32: the tower's `pooled` output.

        Raises:
            UserError: something isn't an image, can't be decoded, or isn't a latent.
        """
        if how not in get_args(How):
            raise UserError(f"how: {how!r}; allowed: {', '.join(get_args(How))}")
        numbers = {latent_number(j, self.sae.n_latents): float(v) for j, v in latents.items()}
        device, made = self.sae.W_dec.device, [np.empty((0, 0), np.float32)]

        def change(x: torch.Tensor) -> torch.Tensor:
            if not numbers:
                return x
            vectors = x.reshape(-1, self.stream.d).to(device)
            return edited(self.sae, vectors, numbers, how).reshape(x.shape).to(x.device)

        for pixels in self._batches(images):
            batch = np.zeros((BATCH, *pixels.shape[1:]), np.uint8)
            batch[: len(pixels)] = pixels
            inputs = torch.from_numpy(batch).to(self.tower.device)
            normalised = normalise(inputs, self.tower.geometry)
            output = spliced(self.tower, normalised, self.stream, change)
            made.append(output[: len(pixels)].cpu().numpy())
        return np.concatenate(made[1:] or made)

    def _batches(self, images: Iterable[Image.Image]) -> Iterator[np.ndarray]:
        """Pixels (b, side, side, 3) uint8 of at most `BATCH` images at a time."""
        if isinstance(images, (Image.Image, str, bytes, Path)):
            raise UserError("give a list of images: for one, pass [image]")
        held: list[np.ndarray] = []
        for number, image in enumerate(images):
            held.append(self._pixels(number, image))
            if len(held) == BATCH:
                yield np.stack(held)
                held = []
        if held:
            yield np.stack(held)

    def _pixels(self, number: int, image: Any) -> np.ndarray:
        rgb = rgb_of(image, f"image {number}", self._lens.gray_range)
        try:
            return self.tower.geometry.pixels(rgb)
        except BadImage as error:
            raise UserError(f"image {number} can't be used: {error}") from error

    def _vectors(self, pixels: np.ndarray, first: int) -> np.ndarray:
        """Activations (vectors, d) float32 of a batch, rounded to the recorded type."""
        n, dtype = len(pixels), self._recording["summary"]["dtype"]
        batch = np.zeros((BATCH, *pixels.shape[1:]), np.uint8)
        batch[:n] = pixels
        values = self.tower(torch.from_numpy(batch))[self.stream.name][:n]
        kept = stored(values, dtype, self.stream, list(range(first, first + n)))
        return to_float32(kept, dtype).reshape(-1, self.stream.d)

    def _found(self, vectors: np.ndarray, n: int) -> Iterator[Found]:
        """What fires on each of ``n`` images, given their vectors."""
        vector, latent, value = self._active(vectors)
        image, patch = np.divmod(vector, self.stream.n_patches)
        of_patches = self.stream.kind == "patches"
        ends = np.searchsorted(image, np.arange(n + 1))
        for low, high in pairwise(ends):
            fired = patch[low:high], latent[low:high], value[low:high]
            latents, values, patches = _largest(*fired)
            yield Found(
                latents,
                values,
                patches if of_patches else None,
                self.tower.geometry.grid if of_patches else None,
                self.sae.n_latents,
                fired,
                self._lens,
            )

    def _active(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All nonzero latents, like `Sae.active`, with the same products as an analysis."""
        device = self.sae.W_dec.device
        size = batch_vectors(self.sae.n_latents, device)
        starts = range(0, len(vectors), size)

        def look(start: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            part = vectors[start : start + size]
            vector, latent, value = (
                t.cpu().numpy() for t in self.sae.active(padded(part).to(device))
            )
            real = np.searchsorted(vector, len(part))
            return start + vector[:real], latent[:real], value[:real]

        with exact_float32(device), one_thread() as threads:
            work = in_order(look, starts, threads if device.type == "cpu" else 1)
            parts = [part for _, part in work]
        vector, latent, value = (np.concatenate(column) for column in zip(*parts, strict=True))
        return vector, latent, value


def _largest(
    patch: np.ndarray, latent: np.ndarray, value: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each latent its number, largest activation and patch, sorted by falling activation."""
    order = np.lexsort((patch, -value, latent))
    order = order[np.unique(latent[order], return_index=True)[1]]
    order = order[np.argsort(-value[order], kind="stable")]
    return latent[order], value[order], patch[order]


def _largest_of(run: Path) -> np.ndarray:
    """The largest activation of each latent in a run: (n,) float32."""
    with safe_open(Analysis(run).files.path(LATENTS), framework="np") as file:
        values: np.ndarray = file.get_slice("top_values")[:, :1]
    return values[:, 0]
