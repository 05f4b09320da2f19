"""Thumbnails: made once a picture, from exactly the pixels that the model saw, shared by all latents."""

import io
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from saev.artifacts import dashboard as names
from saev.artifacts.activations import Activations
from saev.artifacts.images import GROUP_ROWS, Images
from saev.decode import MAX_PIXELS, BadImage, open_rgb
from saev.errors import UserError, listed
from saev.files import sha256_bytes, write_bytes
from saev.progress import Progress

SIDE = 160
"""Longer side of a thumbnail in pixels."""
QUALITY = 85
CHUNK = 256


def thumbnail(picture: Image.Image, crop: tuple[float, float, float, float]) -> Image.Image:
    """What the model saw of a picture.

    Args:
        picture: RGB, with its orientation applied.
        crop: left, top, right, bottom of the crop in its pixels.

    Returns:
        RGB, its longer side 160 pixels.
    """
    left, top, right, bottom = crop
    scale = SIDE / max(right - left, bottom - top)
    size = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
    # Cut first: a resampling filter would let the crop's neighbours bleed into its edge.
    outer = (math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom))
    box = (left - outer[0], top - outer[1], right - outer[0], bottom - outer[1])
    cut = picture.crop(outer)
    return cut.resize(size, Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)


def make_pictures(
    out: Path,
    images: Images,
    activations: Activations,
    rows: np.ndarray,
    keys: list[str],
    threads: int,
) -> None:
    """Write the thumbnail of each of ``rows`` (sorted, unique) under ``out``, unless it is there.

    Args:
        out: folder of the page that is being made.
        images, activations: where the pictures lie, and what was recorded of them.
        rows: (m,) row ids.
        keys: their keys in the manifest.
        threads: pictures are decoded with.

    Raises:
        UserError: pictures have changed or vanished since they were recorded; names them.
    """
    progress = Progress(len(rows), "pictures", "making thumbnails")
    problems: list[str] = []
    max_pixels = images.settings.get("max_pixels", MAX_PIXELS)

    def make(job: tuple[dict[str, Any], str]) -> str | None:
        record, key = job
        return _make(out, images.folder / key, record, max_pixels)

    with ThreadPoolExecutor(max(1, threads)) as pool:
        for jobs in _jobs(activations, rows, keys):
            problems += [problem for problem in pool.map(make, jobs) if problem]
            progress.update(len(jobs))
    if problems:
        raise UserError(
            listed(problems, "pictures aren't what they were when they were recorded:")
            + "\nBring the old files back and run again; or, if the new ones are meant, give the "
            "images another version (a folder without one: rename or resize a file) so that they "
            "are recorded again."
        )


def _jobs(
    activations: Activations, rows: np.ndarray, keys: list[str]
) -> Iterator[list[tuple[dict[str, Any], str]]]:
    for first in range(0, len(rows), CHUNK):
        part = slice(first, first + CHUNK)
        yield list(zip(activations.take_records(rows[part]), keys[part], strict=True))


def keys_of(images: Images, rows: np.ndarray) -> list[str]:
    """Keys of single rows (sorted), one piece of the manifest at a time."""
    found: list[str] = []
    for piece in np.unique(rows // GROUP_ROWS).tolist():
        first = piece * GROUP_ROWS
        entries = images.read(first, first + GROUP_ROWS)
        here = rows[rows // GROUP_ROWS == piece]
        found += [entries[row - first].key for row in here.tolist()]
    return found


def _make(out: Path, source: Path, record: dict[str, Any], max_pixels: int) -> str | None:
    """Make one thumbnail; return what is wrong with its picture, if something is."""
    target = out / names.picture(record["row"])
    if target.exists():
        return None
    try:
        data = source.read_bytes()
    except OSError as error:
        return f"{source}: {error.strerror}"
    if sha256_bytes(data) != record["sha256"]:
        return f"{source}: has changed since it was recorded (another SHA-256)"
    try:
        picture = open_rgb(data, max_pixels)
    except BadImage as error:
        return f"{source}: {error}"
    crop = tuple(record[f"crop_{side}"] for side in ("left", "top", "right", "bottom"))
    write_bytes(target, _jpeg(thumbnail(picture, crop)))
    return None


def _jpeg(picture: Image.Image) -> bytes:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=QUALITY, optimize=True)
    return data.getvalue()
