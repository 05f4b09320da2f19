"""Which class each patch of an image has, from its mask.

A mask has the orientation of its image as a person sees it, and goes through the same crop: the
nearest pixel of the mask stands for each pixel that the tower sees. A patch is of a class if that
class covers half of its pixels or more.
"""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from saev.activations.artifact import Activations
from saev.core.errors import UserError
from saev.evaluate.mask_files import mask_key, require_folders
from saev.images.artifact import Images
from saev.images.damage import damage
from saev.images.geometry import Box, Geometry
from saev.images.sources.source import read_regular
from saev.settings.evaluation import MaskSettings

MODES = {"index": ("P", "L"), "red_green": ("RGB", "RGBA"), "file": ("1", "P", "L")}
"""Pillow's names for 8-bit images of palette indices and of gray values, of colours, and of
bits."""
NEEDED = {
    "index": "save it as a PNG with a palette or 8-bit gray, whose pixel values are classes",
    "red_green": "with pixels: red_green it needs colours",
    "file": "save it as a PNG of black and white, with a palette, or 8-bit gray",
}
VALUES = 1 << 16


def nearest_pixels(mask: np.ndarray, box: Box, side: int) -> np.ndarray:
    """Cut ``box`` out of a mask (h, w), as (side, side); beyond the mask it is 0."""
    padded = np.pad(mask, ((0, 1), (0, 1)))
    at = []
    for first, last, n in ((box.top, box.bottom, len(mask)), (box.left, box.right, mask.shape[1])):
        index = np.floor(first + (np.arange(side) + 0.5) * (last - first) / side).astype(np.int64)
        at.append(np.where((index >= 0) & (index < n), index, n))
    found: np.ndarray = padded[np.ix_(*at)]
    return found


def patch_classes(pixels: np.ndarray, patch_size: int, grid: tuple[int, int]) -> np.ndarray:
    """Values that cover half of a patch or more.

    Args:
        pixels: (side, side) integers, a value for each pixel that the tower sees; 0 is no class.
        patch_size: side of a patch in pixels; grid: rows and columns of patches, P in all.

    Returns:
        (2, P) int64: the value, 0 for none; and a second one if two cover half each.
    """
    rows, columns = grid
    inside = pixels[: rows * patch_size, : columns * patch_size].astype(np.int64)
    apart = inside.reshape(rows, patch_size, columns, patch_size).swapaxes(1, 2)
    patches = apart.reshape(rows * columns, patch_size**2)
    n = int(patches.max()) + 1
    key = np.arange(len(patches))[:, None] * n + patches
    counts = np.bincount(key.reshape(-1), minlength=len(patches) * n).reshape(-1, n)
    counts[:, 0] = 0
    found = []
    for _ in range(2):
        value = counts.argmax(1)
        share = counts[np.arange(len(counts)), value]
        found.append(np.where(2 * share >= patch_size**2, value, 0))
        counts[np.arange(len(counts)), value] = 0
    return np.stack(found)


def covered_pixels(pixels: np.ndarray, patch_size: int, grid: tuple[int, int]) -> np.ndarray:
    """How many of the pixels (side, side) bool of each patch are set: (P,) int64."""
    rows, columns = grid
    inside = pixels[: rows * patch_size, : columns * patch_size]
    return inside.reshape(rows, patch_size, columns, patch_size).sum((1, 3)).reshape(-1)


def overlapping_classes(covered: np.ndarray, patch_size: int) -> np.ndarray:
    """Classes that cover half of a patch or more, where a pixel may be of several.

    Args:
        covered: (C, P) int64, how many pixels of each patch a class covers.

    Returns:
        (s, P) int64, s ≥ 2: numbers of classes from 1, the one that covers most first; then 0.
    """
    order = np.argsort(-covered, axis=0, kind="stable")
    enough = 2 * np.take_along_axis(covered, order, 0) >= patch_size**2
    found = np.where(enough, order + 1, 0)
    return _padded(found[: enough.sum(0).max()], 2)


def _padded(numbers: np.ndarray, n: int) -> np.ndarray:
    """``numbers`` (s, P) with rows of 0 up to ``n``."""
    return np.pad(numbers, ((0, max(0, n - len(numbers))), (0, 0)))


class Masks:
    """Reads the classes of patches of images that were recorded.

    Args:
        settings: where the masks are, and what their pixels mean.
        activations: the recording; images: directory of the images.
        workers: threads that decode.

    Attributes:
        names: the classes in the order of the settings; class c is number c + 1.
        example: where the mask of the first image without one would lie.

    Raises:
        UserError: the images aren't those of the recording, or a class has no folder.
    """

    def __init__(
        self,
        settings: MaskSettings,
        activations: Activations,
        images: Path,
        workers: int = 1,
    ) -> None:
        self.settings, self.activations, self.images = settings, activations, Images(images)
        if activations.meta["inputs"].get("images") not in (None, self.images.digest):
            raise UserError(f"{activations.path} wasn't recorded from the images in {images}")
        self.geometry = Geometry.from_summary(activations.meta["summary"]["geometry"])
        self.names = list(settings.classes)
        self.numbers = np.full(VALUES, -1 if settings.unnamed == "refuse" else 0)
        self.numbers[0] = 0
        if isinstance(settings.classes, dict):
            self.numbers[list(settings.classes.values())] = np.arange(1, len(self.names) + 1)
        else:
            require_folders(settings)
        self.workers = max(1, workers)
        self.example = ""

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Classes of the patches of images ``rows`` (r,), ascending.

        Returns:
            (r,) bool, which images have a mask, and (s, r, P) int64, numbers of classes, as
            `patch_classes` or `overlapping_classes`.

        Raises:
            UserError: a mask can't be read, doesn't fit its image, or has a value of no class.
        """
        keys = {e.row: e.key for e in self.images.read(int(rows[0]), int(rows[-1]) + 1)}
        records = self.activations.take_records(rows)
        with ThreadPoolExecutor(self.workers) as pool:
            read = self._read_files if self.settings.pixels == "file" else self._read
            found = list(pool.map(lambda r: read(keys[r["row"]], r), records))
        have = np.array([one is not None for one in found])
        if not have.all() and not self.example:
            first = keys[int(rows[np.flatnonzero(~have)[0]])]
            self.example = str(self._path(first).relative_to(self.settings.folder))
        none = np.zeros((2, math.prod(self.geometry.grid)), np.int64)
        n = max([2, *(len(one) for one in found if one is not None)])
        return have, np.stack([_padded(none if one is None else one, n) for one in found], axis=1)

    def _path(self, key: str) -> Path:
        """Where the mask of an image lies, if it has one; with `pixels: file`, the first class'."""
        one = self.names[:1] if self.settings.pixels == "file" else []
        return Path(self.settings.folder, *one, mask_key(key, self.settings.ending))

    def _read(self, key: str, record: dict[str, Any]) -> np.ndarray | None:
        path = self._path(key)
        if not os.path.lexists(path):
            return None
        pixels = self._pixels(path)
        numbers = self.numbers[pixels]
        seen = self._cut(path, numbers, key, record)
        unknown = pixels[numbers == -1]
        if unknown.size:
            raise UserError(
                f"the mask {path} has pixels of value {unknown.min()}, which is no class: name it "
                f"in `classes` of the masks, or set `unnamed: none` there if it means none"
            )
        return patch_classes(seen, self.geometry.patch_size, self.geometry.grid)

    def _read_files(self, key: str, record: dict[str, Any]) -> np.ndarray | None:
        """Those of an image with a file for each class that it has."""
        size, grid = self.geometry.patch_size, self.geometry.grid
        covered = np.zeros((len(self.names), math.prod(grid)), np.int64)
        some = False
        for place, name in enumerate(self.names):
            path = Path(self.settings.folder, name, mask_key(key, self.settings.ending))
            if os.path.lexists(path):
                some = True
                seen = self._cut(path, self._pixels(path) != 0, key, record)
                covered[place] = covered_pixels(seen, size, grid)
        return overlapping_classes(covered, size) if some else None

    def _pixels(self, path: Path) -> np.ndarray:
        """The values of a mask's pixels (h, w)."""
        kind = self.settings.pixels
        try:
            data = read_regular(path)
            with Image.open(BytesIO(data), formats=("PNG",)) as image:
                mode = image.mode
                pixels = np.asarray(image)
        except Exception as error:  # Pillow raises errors of any kind for a damaged file
            reason = "isn't a PNG" if isinstance(error, UnidentifiedImageError) else error
            raise UserError(f"the mask {path} can't be read: {reason}") from error
        if harm := damage(data):
            raise UserError(f"the mask {path} can't be read: {harm}")
        if mode not in MODES[kind]:
            holds = "holds colours" if mode in MODES["red_green"] else "has another format"
            raise UserError(f"the mask {path} {holds} ({mode}): {NEEDED[kind]}")
        if kind == "red_green":
            pixels = pixels[..., 0] + 256 * pixels[..., 1].astype(np.int64)
        return pixels

    def _cut(self, path: Path, pixels: np.ndarray, key: str, record: dict[str, Any]) -> np.ndarray:
        """What the tower sees of a mask's pixels (h, w): (side, side)."""
        height, width = pixels.shape
        across, down = width / record["width"], height / record["height"]
        # A mask of another size may be rounded by half a pixel on each side.
        if abs(across - down) > 0.5 / record["width"] + 0.5 / record["height"]:
            raise UserError(
                f"the mask {path} has {width} × {height} pixels, and its image {key} has "
                f"{record['width']} × {record['height']} as a person sees it: both need the same "
                f"aspect ratio"
            )
        left, top, right, bottom = (
            record[f"crop_{side}"] for side in ("left", "top", "right", "bottom")
        )
        box = Box(left * across, top * down, right * across, bottom * down)
        return nearest_pixels(pixels, box, self.geometry.image_size)
