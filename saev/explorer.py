"""New pictures through the tower and the dictionary of a run: what is recorded and analysed, in memory."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from saev.activations import stored
from saev.analysis.accumulate import batch_vectors, padded
from saev.analysis.threads import in_order, one_thread
from saev.artifacts import activations as recorded
from saev.artifacts import analysis as analysed
from saev.artifacts import sae as trained
from saev.artifacts.activations import Stream, to_float32
from saev.artifacts.meta import read_meta
from saev.decode import BadImage, to_rgb
from saev.door import DICTIONARY, RUN, latent_number, load, located, require_input, stage_of
from saev.errors import UserError
from saev.files import sha256_file
from saev.loading import BATCH
from saev.settings.vit import VitSettings
from saev.vit import Tower, load_tower
from saev.weights import is_file_name


@dataclass(frozen=True, eq=False)
class Found:
    """What fires on one picture."""

    latents: np.ndarray
    """(m,) int64, those that aren't 0, by falling activation; of equal ones the lower first."""
    values: np.ndarray
    """(m,) float32, their activations: for patches the largest of each."""
    patches: np.ndarray | None
    """(m,) int64, the patch with that activation (the first of equal ones); None without patches."""
    grid: tuple[int, int] | None
    """Lines and columns of patches."""
    n_latents: int
    """Size of the dictionary."""
    _fired: tuple[np.ndarray, np.ndarray, np.ndarray] = field(repr=False)
    """(f,) each, all that isn't 0: patch int64, latent int64, activation float32."""

    def map(self, latent: int) -> np.ndarray:
        """Activation of one latent on each patch: (lines, columns) float32, 0 where it doesn't fire.

        Raises:
            UserError: there is no such latent, or the dictionary isn't of patches.
        """
        latent = latent_number(latent, self.n_latents)
        if self.grid is None:
            raise UserError(
                "there is no map: this dictionary sees one vector a picture. Use one of patches"
            )
        patch, latents, values = self._fired
        out = np.zeros(self.grid, np.float32)
        out.flat[patch[latents == latent]] = values[latents == latent]
        return out


class Explorer:
    """The tower and the dictionary of a run, for pictures that weren't recorded.

    Args:
        path: directory of a run or of a dictionary.
        device: what both run on. On the kind of device that the run was recorded and analysed on,
            a picture gives the very numbers that stand there.

    Attributes:
        sae: the dictionary; tower: the tower; stream: what the dictionary takes of it.

    Raises:
        UserError: the directory, the dictionary, its activations' `meta.json` or the tower's weights
            are missing, were altered, or are others than were used.
    """

    def __init__(self, path: str | Path, device: str = "cpu") -> None:
        folder = _dictionary(Path(path).resolve())
        training, _ = read_meta(folder, trained.STAGE)
        self._recording, digest = read_meta(folder.parent, recorded.STAGE)
        require_input(training, recorded.STAGE, digest, folder.parent, folder)
        self.sae = load(folder, device)
        self.tower = _tower(self._recording, folder.parent, device)
        self.stream: Stream = next(s for s in self.tower.streams if s.name == self.sae.stream)

    def encode_images(self, pictures: Iterable[Image.Image]) -> list[Found]:
        """Find the latents that fire on pictures.

        They are decoded, cut, run through the tower and rounded as recorded ones are.

        Args:
            pictures: as Pillow opens them, of any mode and size.

        Returns:
            what fires on each, in their order.

        Raises:
            UserError: something isn't a picture, can't be decoded, or gives activations that the
                recorded type can't hold.
        """
        if isinstance(pictures, (Image.Image, str, bytes, Path)):
            raise UserError("encode_images takes a list of pictures, [picture] if it is one")
        found: list[Found] = []
        for pixels in self._batches(pictures):
            found += self._found(self._vectors(pixels, len(found)), len(pixels))
        return found

    def _batches(self, pictures: Iterable[Image.Image]) -> Iterator[np.ndarray]:
        """Pixels (b, side, side, 3) uint8 of at most `BATCH` pictures at a time."""
        held: list[np.ndarray] = []
        for number, picture in enumerate(pictures):
            held.append(self._pixels(number, picture))
            if len(held) == BATCH:
                yield np.stack(held)
                held = []
        if held:
            yield np.stack(held)

    def _pixels(self, number: int, picture: Any) -> np.ndarray:
        if not isinstance(picture, Image.Image):
            raise UserError(
                f"picture {number} is a {type(picture).__name__}, not a picture of Pillow: open files "
                f"with PIL.Image.open, make one of an array with PIL.Image.fromarray"
            )
        if 0 in picture.size:
            raise UserError(f"picture {number} is empty: {picture.width} × {picture.height} pixels")
        try:
            return self.tower.geometry.pixels(to_rgb(picture))
        except BadImage as error:
            raise UserError(f"picture {number} can't be used: {error}") from error

    def _vectors(self, pixels: np.ndarray, first: int) -> np.ndarray:
        """Activations (vectors, d) float32 of a batch, rounded as they are recorded."""
        n, dtype = len(pixels), self._recording["summary"]["dtype"]
        batch = np.zeros((BATCH, *pixels.shape[1:]), np.uint8)
        batch[:n] = pixels
        values = self.tower(torch.from_numpy(batch))[self.stream.name][:n]
        kept = stored(values, dtype, self.stream, list(range(first, first + n)))
        return to_float32(kept, dtype).reshape(-1, self.stream.d)

    def _found(self, vectors: np.ndarray, n: int) -> Iterator[Found]:
        """What fires on each of ``n`` pictures, of their vectors."""
        vector, latent, value = self._active(vectors)
        picture, patch = np.divmod(vector, self.stream.n_patches)
        of_patches = self.stream.kind == "patches"
        ends = np.searchsorted(picture, np.arange(n + 1))
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
            )

    def _active(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All that isn't 0, as `Sae.active` gives it, in products like those of an analysis."""
        size, device = batch_vectors(self.sae.n_latents), self.sae.W_dec.device
        starts = range(0, len(vectors), size)

        def look(start: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            part = vectors[start : start + size]
            vector, latent, value = (
                t.cpu().numpy() for t in self.sae.active(padded(part).to(device))
            )
            real = np.searchsorted(vector, len(part))
            return start + vector[:real], latent[:real], value[:real]

        with one_thread() as threads:
            work = in_order(look, starts, threads if device.type == "cpu" else 1)
            parts = [part for _, part in work]
        vector, latent, value = (np.concatenate(column) for column in zip(*parts, strict=True))
        return vector, latent, value


def _largest(
    patch: np.ndarray, latent: np.ndarray, value: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Latent, largest activation and its patch, a line a latent, by falling activation."""
    order = np.lexsort((patch, -value, latent))
    order = order[np.unique(latent[order], return_index=True)[1]]
    order = order[np.argsort(-value[order], kind="stable")]
    return latent[order], value[order], patch[order]


def _dictionary(path: Path) -> Path:
    """Directory of the dictionary that ``path`` names, itself or by a run."""
    stage = stage_of(path)
    if stage not in (analysed.STAGE, trained.STAGE):
        raise UserError(f"{path} is neither a run ({RUN}) nor a dictionary ({DICTIONARY})")
    if stage == trained.STAGE:
        return path
    meta, _ = read_meta(path, analysed.STAGE)
    _, digest = read_meta(path.parent, trained.STAGE)
    require_input(meta, trained.STAGE, digest, path.parent, path)
    return path.parent


def _tower(recording: dict[str, Any], folder: Path, device: str) -> Tower:
    """The tower that recorded ``folder``.

    Raises:
        UserError: a file of it is gone, or it isn't the same any more.
    """
    given = dict(recording["settings"])
    digests = {
        "model": given.pop("model_sha256", None),
        "weights": recording["summary"]["weights_sha256"],
    }
    for name, digest in digests.items():
        text = given.get(name) or ""
        if is_file_name(text) if name == "weights" else text.endswith(".json"):
            given[name] = located(text, folder.parent.parent.parent)
            _require_file(name, Path(given[name]), digest, folder)
    tower = load_tower(VitSettings.model_validate_json(json.dumps(given)), device)
    _require_same(tower.summary(), recording["summary"], folder)
    return tower


def _require_file(name: str, path: Path, digest: str | None, folder: Path) -> None:
    if not path.is_file():
        raise UserError(
            f"{name}: the file {path} that {folder} was recorded with is gone: bring it back"
            + (f" (SHA-256 {digest})" if digest else "")
        )
    if digest is not None and sha256_file(path) != digest:
        raise UserError(
            f"{name}: {path} isn't the file that {folder} was recorded with, which has the SHA-256 "
            f"{digest}: bring that back, or record again"
        )


def _require_same(now: dict[str, Any], then: dict[str, Any], folder: Path) -> None:
    """Compare a tower with what was recorded of it."""
    shapes = {
        name: {key: stream.get(key) for key in ("d", "n_patches", "kind", "layer")}
        for name, stream in then["streams"].items()
    }
    then = {**then, "streams": shapes}
    for key in ("weights_sha256", "n_blocks", "layers", "geometry", "streams"):
        if now[key] != then[key]:
            raise UserError(
                f"the tower has {key} {now[key]} now, but {folder} was recorded with {then[key]}: use the "
                f"libraries' versions in {folder / 'run.json'} and the same weights, or record again"
            )
