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
from saev.artifacts.images import Entry, Images
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
    entries: list[Entry],
    threads: int,
) -> None:
    """Write the thumbnail of each of ``entries`` under ``out``, unless it is there.

    Args:
        out: folder of the page that is being made.
        images, activations: where the pictures lie, and what was recorded of them.
        entries: their places in the listing, ascending.
        threads: pictures are decoded with.

    Raises:
        UserError: pictures have changed or vanished since they were recorded; names them.
    """
    progress = Progress(len(entries), "pictures", "making thumbnails")
    problems: list[str] = []
    max_pixels = images.settings.get("max_pixels", MAX_PIXELS)

    def make(job: tuple[dict[str, Any], Entry]) -> str | None:
        record, entry = job
        return _make(out, images, entry, record, max_pixels)

    with ThreadPoolExecutor(max(1, threads)) as pool:
        for jobs in _jobs(activations, entries):
            problems += [problem for problem in pool.map(make, jobs) if problem]
            progress.update(len(jobs))
    if problems:
        raise UserError(
            listed(problems, "pictures aren't what they were when they were recorded:")
            + "\nBring the old files back and run again; or, if the new ones are meant, give the "
            "images another version (without one: rename or resize a file) so that they "
            "are recorded again."
        )


def _jobs(
    activations: Activations, entries: list[Entry]
) -> Iterator[list[tuple[dict[str, Any], Entry]]]:
    for first in range(0, len(entries), CHUNK):
        part = entries[first : first + CHUNK]
        rows = np.array([entry.row for entry in part], np.int64)
        yield list(zip(activations.take_records(rows), part, strict=True))


def _make(
    out: Path, images: Images, entry: Entry, record: dict[str, Any], max_pixels: int
) -> str | None:
    """Make one thumbnail; return what is wrong with its picture, if something is."""
    target = out / names.picture(record["row"])
    if target.exists():
        return None
    try:
        data = images.source.read(entry)
    except OSError as error:
        return f"{entry.key}: {error.strerror}"
    if sha256_bytes(data) != record["sha256"]:
        return f"{entry.key}: has changed since it was recorded (another SHA-256)"
    try:
        picture = open_rgb(data, max_pixels)
    except BadImage as error:
        return f"{entry.key}: {error}"
    crop = tuple(record[f"crop_{side}"] for side in ("left", "top", "right", "bottom"))
    write_bytes(target, _jpeg(thumbnail(picture, crop)))
    return None


def _jpeg(picture: Image.Image) -> bytes:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=QUALITY, optimize=True)
    return data.getvalue()
