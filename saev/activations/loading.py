"""Decodes images ahead of the tower, in order, with threads (Pillow releases the GIL)."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from saev.activations.depth import DEPTH, HIDDEN, SEVERAL
from saev.core.files import sha256_bytes
from saev.images.artifact import Images
from saev.images.damage import BadImage
from saev.images.decode import decode
from saev.images.geometry import Geometry
from saev.images.sources.source import Entry

BATCH = 32
"""Rows of the listing per forward pass. A constant, because sums of floats depend on it."""
BATCHES_AHEAD = 2
"""How many batches may be decoded ahead. Bounds memory."""

ENTRIES = 4096
"""Rows of the manifest kept in memory at a time."""


class DecodedImage(NamedTuple):
    """One row of the listing, decoded."""

    record: dict[str, Any]
    """Its row of `images.parquet`; also the keys of `saev.activations.depth`, if they apply."""
    pixels: np.ndarray | None
    """(h, w, 3) uint8; None if the image is skipped."""


class ImageBatch(NamedTuple):
    """One forward pass."""

    images: list[DecodedImage]
    """At most `BATCH`, in row order."""
    pixels: np.ndarray
    """(BATCH, h, w, 3) uint8; zeros for skipped images and missing rows."""
    present: np.ndarray
    """(len(images),) bool: which images were decoded."""


def read_image(images: Images, entry: Entry, geometry: Geometry) -> DecodedImage:
    """Read, hash and decode one image. If it is bad, its record says why."""
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
        seen = decode(data, images.settings.max_pixels, images.settings.gray_range)
        image, depth = seen.image, seen.depth
        pixels = geometry.pixels(image)
    except OSError as error:
        return DecodedImage(record | {"skipped": f"the file can't be read: {error.strerror}"}, None)
    except BadImage as error:
        return DecodedImage(record | {"skipped": str(error)}, None)
    box = geometry.crop(*image.size)
    crop = {f"crop_{name}": float(edge) for name, edge in box._asdict().items()}
    record |= {"width": image.width, "height": image.height, **crop}
    if depth:
        record[DEPTH] = list(depth)
    doubts = {SEVERAL: seen.several, HIDDEN: seen.hidden}
    return DecodedImage(record | {kind: True for kind, found in doubts.items() if found}, pixels)


def batches(
    images: Images, start: int, stop: int, geometry: Geometry, workers: int
) -> Iterator[ImageBatch]:
    """Yield the images of the rows ``start`` to ``stop``, in row order, `BATCH` at a time.

    Args:
        start: a multiple of `BATCH`, so that a row is always in the same batch.
        workers: threads that decode ahead; 0 decodes in this thread. Doesn't change the result.
    """
    if start % BATCH:
        raise ValueError(f"start {start} isn't a multiple of {BATCH}")
    side = geometry.image_size
    entries = (
        entry
        for first in range(start, stop, ENTRIES)
        for entry in images.read(first, min(first + ENTRIES, stop))
    )
    decoded = _in_order(images, entries, geometry, workers)
    for first in range(start, stop, BATCH):
        held = [next(decoded) for _ in range(first, min(first + BATCH, stop))]
        pixels = np.zeros((BATCH, side, side, 3), np.uint8)
        present = np.array([image.pixels is not None for image in held])
        for slot, image in enumerate(held):
            if image.pixels is not None:
                pixels[slot] = image.pixels
        yield ImageBatch(held, pixels, present)


def _in_order(
    images: Images, entries: Iterator[Entry], geometry: Geometry, workers: int
) -> Iterator[DecodedImage]:
    if not workers:
        for entry in entries:
            yield read_image(images, entry, geometry)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    waiting: deque[Future[DecodedImage]] = deque()
    try:
        for entry in entries:
            waiting.append(pool.submit(read_image, images, entry, geometry))
            if len(waiting) > BATCH * BATCHES_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
