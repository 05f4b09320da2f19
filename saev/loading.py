"""Pictures decoded ahead of the tower, in order, by threads (Pillow releases Python's lock)."""

import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from saev.artifacts.images import Entry, Images
from saev.decode import BadImage, Geometry, open_rgb
from saev.files import sha256_bytes

BATCH = 32
"""Positions of the listing in one forward pass: a constant, as float sums depend on it."""
BATCHES_AHEAD = 2
"""Batches that may be decoded before they are needed; bounds memory."""

ENTRIES = 4096
"""Lines of the manifest that are held at a time."""


class Picture(NamedTuple):
    """One position of the listing, read."""

    record: dict[str, Any]
    """Its row of `images.parquet`."""
    pixels: np.ndarray | None
    """(h, w, 3) uint8, None when it is skipped."""


class Batch(NamedTuple):
    """One forward pass."""

    pictures: list[Picture]
    """At most `BATCH`, in row order."""
    pixels: np.ndarray
    """(BATCH, h, w, 3) uint8: zeros where there is no picture."""
    present: np.ndarray
    """(len(pictures),) bool: which pictures there are."""


def read_picture(images: Images, entry: Entry, geometry: Geometry, max_pixels: int) -> Picture:
    """Read, hash and decode one picture; what is wrong with it goes into its record."""
    record: dict[str, Any] = {
        "row": entry.row,
        **dict.fromkeys(("width", "height", "sha256")),
        **dict.fromkeys(("crop_left", "crop_top", "crop_right", "crop_bottom")),
        "skipped": None,
    }
    try:
        data = images.source.read(entry)
        record["sha256"] = sha256_bytes(data)
        if entry.bytes not in (None, len(data)):
            raise BadImage(f"has {len(data):,} bytes, {entry.bytes:,} when it was listed")
        image = open_rgb(data, max_pixels)
        pixels = geometry.pixels(image)
    except OSError as error:
        return Picture(record | {"skipped": f"the file can't be read: {error.strerror}"}, None)
    except BadImage as error:
        return Picture(record | {"skipped": str(error)}, None)
    box = geometry.crop(*image.size)
    crop = {f"crop_{name}": float(edge) for name, edge in box._asdict().items()}
    return Picture(record | {"width": image.width, "height": image.height, **crop}, pixels)


def batches(
    images: Images, start: int, stop: int, geometry: Geometry, max_pixels: int, workers: int
) -> Iterator[Batch]:
    """Yield the pictures of the rows ``start`` to ``stop``, in row order, `BATCH` at a time.

    Args:
        start: a multiple of `BATCH`, so that batches lie the same wherever one starts.
        workers: threads that decode ahead; 0 decodes in line. Can't change what is yielded.
    """
    if start % BATCH:
        raise ValueError(f"start {start} is no multiple of {BATCH}")
    # Odd metadata makes Pillow warn; it is no reason to flood a log.
    warnings.filterwarnings("ignore", module=r"PIL\..*")
    side = geometry.image_size
    entries = (
        entry
        for first in range(start, stop, ENTRIES)
        for entry in images.read(first, min(first + ENTRIES, stop))
    )
    pictures = _in_order(images, entries, geometry, max_pixels, workers)
    for first in range(start, stop, BATCH):
        held = [next(pictures) for _ in range(first, min(first + BATCH, stop))]
        pixels = np.zeros((BATCH, side, side, 3), np.uint8)
        present = np.array([picture.pixels is not None for picture in held])
        for slot, picture in enumerate(held):
            if picture.pixels is not None:
                pixels[slot] = picture.pixels
        yield Batch(held, pixels, present)


def _in_order(
    images: Images, entries: Iterator[Entry], geometry: Geometry, max_pixels: int, workers: int
) -> Iterator[Picture]:
    if not workers:
        for entry in entries:
            yield read_picture(images, entry, geometry, max_pixels)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    waiting: deque[Future[Picture]] = deque()
    try:
        for entry in entries:
            waiting.append(pool.submit(read_picture, images, entry, geometry, max_pixels))
            if len(waiting) > BATCH * BATCHES_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
