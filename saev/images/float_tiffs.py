"""Gray TIFFs of floats that Pillow can't open, or misreads."""

import zlib
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from PIL.TiffImagePlugin import ImageFileDirectory_v2

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, OFFSETS = 256, 257, 258, 259, 262, 273
ORIENTATION, SAMPLES, COUNTS, PREDICTOR, TILES, SAMPLE_FORMAT = 274, 277, 279, 317, 322, 339
PLAIN, DEFLATE = 1, (8, 32946)
FLOAT = 3
ORDERS = {b"II*\0": "<", b"MM\0*": ">"}


class FloatTiff(NamedTuple):
    """A gray TIFF of floats that isn't decoded yet."""

    width: int
    height: int
    orientation: int
    tags: dict[int, Any]
    dtype: str
    strips: list[tuple[int, int]]
    compressed: bool

    def values(self, data: bytes) -> np.ndarray:
        """The numbers in the file ``data``, (height, width).

        Raises:
            ValueError, zlib.error: it is cut off or damaged.
        """
        size = self.width * self.height * np.dtype(self.dtype).itemsize
        parts = [data[start : start + n] for start, n in self.strips]
        if self.compressed:
            parts = [zlib.decompressobj().decompress(part, size) for part in parts]
        whole = b"".join(parts)
        if len(whole) < size:
            raise ValueError(f"{len(whole):,} bytes of pixels, not {size:,}")
        found = np.frombuffer(whole[:size], self.dtype).reshape(self.height, self.width)
        return found.astype(np.float32 if found.itemsize < 8 else np.float64)


def float_tiff(data: bytes) -> FloatTiff | None:
    """The header of a gray TIFF of floats; None if ``data`` isn't one that can be
    read exactly (in strips, and plain or deflated)."""
    order = ORDERS.get(data[:4])
    if order is None:
        return None
    try:
        tags = ImageFileDirectory_v2(data[:8])
        file = BytesIO(data)
        file.seek(tags.next)
        tags.load(file)
        one: dict[int, Any] = {number: _first(tags.get(number)) for number in tags}
        bits, compression = one.get(BITS, 1), one.get(COMPRESSION, PLAIN)
        fits = (
            one.get(SAMPLE_FORMAT) == FLOAT
            and bits in (16, 32, 64)
            and one.get(SAMPLES, 1) == 1
            and compression in (PLAIN, *DEFLATE)
            and one.get(PREDICTOR, 1) == 1
            and one.get(PHOTOMETRIC) in (0, 1)
            and TILES not in one
        )
        if not fits:
            return None
        return FloatTiff(
            int(one[WIDTH]),
            int(one[HEIGHT]),
            int(one.get(ORIENTATION, 1)),
            one,
            f"{order}f{bits // 8}",
            list(zip(_all(tags[OFFSETS]), _all(tags[COUNTS]), strict=True)),
            compression != PLAIN,
        )
    except Exception:  # Pillow raises errors of any kind for a damaged header
        return None


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) and value else value


def _all(value: Any) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)
