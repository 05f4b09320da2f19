"""Makes thumbnails, one for each image, of exactly what the model saw, and larger ones to look at
closely. All latents share them."""

import io
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from saev.activations.artifact import Activations
from saev.core.errors import UserError, listed, printable
from saev.core.files import sha256_bytes, write_bytes
from saev.core.progress import Progress
from saev.dashboard import artifact as names
from saev.images.artifact import Images
from saev.images.damage import BadImage
from saev.images.decode import open_rgb
from saev.images.sources.source import Entry

SIDE = 160
"""Longer side of a thumbnail in pixels."""
LARGE = 512
"""Longer side of a large image, at most: it has no more pixels than what the model's crop has."""
QUALITY = 85
CHUNK = 256


def thumbnail(
    image: Image.Image, crop: tuple[float, float, float, float], side: int = SIDE
) -> Image.Image:
    """Make a thumbnail of what the model saw of an image.

    Args:
        image: RGB, with its orientation applied.
        crop: left, top, right, bottom of the crop, in pixels of the image.
        side: pixels of its longer side.

    Returns:
        RGB.
    """
    left, top, right, bottom = crop
    scale = side / max(right - left, bottom - top)
    size = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
    # Crop first: otherwise, resampling would mix the pixels around the crop into its edge.
    outer = (math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom))
    box = (left - outer[0], top - outer[1], right - outer[0], bottom - outer[1])
    cut = image.crop(outer)
    return cut.resize(size, Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)


def make_thumbnails(
    out: Path,
    images: Images,
    activations: Activations,
    entries: list[Entry],
    threads: int,
    large: bool,
) -> None:
    """Write the thumbnail of each of ``entries`` under ``out``, unless it exists.

    Args:
        out: folder of the page that is being made.
        images, activations: where the images are, and what was recorded about them.
        entries: their entries in the listing, ascending.
        threads: how many threads decode images.
        large: whether to write large images too.

    Raises:
        UserError: images have changed or vanished since they were recorded (the message names
            them).
    """
    progress = Progress(len(entries), "images", "making thumbnails")
    problems: list[str] = []

    def make(job: tuple[dict[str, Any], Entry]) -> str | None:
        record, entry = job
        return _make(out, images, entry, record, large)

    with ThreadPoolExecutor(max(1, threads)) as pool:
        for jobs in _jobs(activations, entries):
            problems += [problem for problem in pool.map(make, jobs) if problem]
            progress.update(len(jobs))
    if problems:
        raise UserError(
            listed(problems, "images have changed since they were recorded:")
            + "\nRestore the old files and run again. To use the new ones, give the images another "
            "version, so that they are recorded again (a folder has no version: rename a file)."
        )


def _jobs(
    activations: Activations, entries: list[Entry]
) -> Iterator[list[tuple[dict[str, Any], Entry]]]:
    for first in range(0, len(entries), CHUNK):
        part = entries[first : first + CHUNK]
        rows = np.array([entry.row for entry in part], np.int64)
        yield list(zip(activations.take_records(rows), part, strict=True))


def _make(
    out: Path, images: Images, entry: Entry, record: dict[str, Any], large: bool
) -> str | None:
    """Make the thumbnail of one image. If something is wrong with the image, return what."""
    target = out / names.thumbnail(record["row"])
    if target.exists():
        return None
    try:
        data = images.source.read(entry)
    except OSError as error:
        return f"{printable(entry.key)}: {error.strerror}"
    if sha256_bytes(data) != record["sha256"]:
        return f"{printable(entry.key)}: has changed since it was recorded (another SHA-256)"
    try:
        image = open_rgb(data, images.settings.max_pixels, images.settings.gray_range)
    except BadImage as error:
        return f"{printable(entry.key)}: {error}"
    crop = tuple(record[f"crop_{side}"] for side in ("left", "top", "right", "bottom"))
    if large:
        side = max(SIDE, min(LARGE, round(max(crop[2] - crop[0], crop[3] - crop[1]))))
        write_bytes(
            out / names.thumbnail(record["row"], large), _jpeg(thumbnail(image, crop, side))
        )
    write_bytes(target, _jpeg(thumbnail(image, crop)))
    return None


def _jpeg(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=QUALITY, optimize=True)
    return data.getvalue()
