"""Embeds what lies around a patch of an image, by the tower that made a recording."""

from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from saev.activations.loading import BATCH
from saev.activations.towers.precision import computing
from saev.activations.towers.tower import normalise
from saev.core.progress import Progress
from saev.evaluate.tower_outputs import Rerun

CROP = 0.4
"""Side of a crop as a part of the image that the tower sees, as on the page's wall."""
CROP_PATCHES = 3
"""Least side of a crop in patches."""


def cropped(pixels: UInt8[np.ndarray, "h h 3"], grid: tuple[int, int], patch: int) -> np.ndarray:
    """The square around a patch, as large as the image. At the border, the patch isn't in the
    middle.

    Args:
        pixels: what the tower saw; grid: rows and columns of patches; patch: −1 for the whole
            image.
    """
    if patch < 0:
        return pixels
    whole = len(pixels)
    side = min(whole, max(CROP * whole, CROP_PATCHES * whole / min(grid)))
    row, column = divmod(patch, grid[1])
    left, top = (
        min(max(0.0, (at + 0.5) * whole / n - side / 2), whole - side)
        for at, n in ((column, grid[1]), (row, grid[0]))
    )
    image = Image.fromarray(pixels)
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((whole, whole), Image.Resampling.BICUBIC, box=box))


def embed(rerun: Rerun, rows: np.ndarray, patches: np.ndarray) -> Float[Tensor, "m e"]:
    """The tower's output for crops of images, as unit vectors, float32 on the CPU.

    A crop that is asked for several times is run once.

    Args:
        rerun: the tower and the images; rows: (m,) int64; patches: (m,) int64, the patch in the
            middle of each crop; −1 for the whole image.
    """
    asked, back = np.unique(np.stack([rows, patches]), axis=1, return_inverse=True)
    tower, found = rerun.tower, []
    progress = Progress(asked.shape[1], "crops", "running the tower")
    crops = _crops(rerun, asked)
    while held := list(islice(crops, BATCH)):
        blank = [np.zeros_like(held[0])] * (BATCH - len(held))  # no vector depends on their number
        inputs = normalise(
            torch.from_numpy(np.stack(held + blank)).to(tower.device), tower.geometry
        )
        with torch.inference_mode(), computing(tower.device, tower.precision):
            output = tower.backbone.module(inputs)[: len(held)].float()
        found.append(torch.nn.functional.normalize(output, dim=1).cpu())
        progress.update(len(held))
    return torch.cat(found)[torch.from_numpy(back.reshape(-1))]


def _crops(rerun: Rerun, asked: np.ndarray) -> Iterator[np.ndarray]:
    """The crops (2, c), row and patch, sorted by both."""
    rows, first = np.unique(asked[0], return_index=True)
    patches = np.split(asked[1], first[1:])
    for pixels, here in zip(rerun.pixels(rows), patches, strict=True):
        for patch in here.tolist():
            yield cropped(pixels, rerun.tower.geometry.grid, patch)


def centred(vectors: Tensor) -> Tensor:
    """Unit vectors of ``vectors`` (m, e) less their mean."""
    mean = vectors.mean(0, dtype=torch.float64).to(vectors.dtype)
    return torch.nn.functional.normalize(vectors - mean, dim=1)
