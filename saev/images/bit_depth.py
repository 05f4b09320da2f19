"""Images of more than 8 bits per channel, and what else Pillow reads wrongly or forgets."""

from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from saev.images.damage import BadImage

Range = tuple[float, float]
BITS, PHOTOMETRIC, FILL_ORDER, PLANES, COLOURS, SAMPLE_FORMAT = 258, 262, 266, 284, 320, 339
"""Tags of TIFF."""
WHITE_IS_ZERO, UNSIGNED, SIGNED, APART, REVERSED = 0, 1, 2, 2, 2
"""Values of these tags."""


class Depth(NamedTuple):
    """How much of its range an image of more than 8 bits per channel uses."""

    colour: bool
    """Whether it is in colour. Pillow keeps only 8 bits of those."""
    largest: float
    """Its largest value."""
    white: float
    """Where that lies between black (0) and white (1). Larger than 1: it is cut off."""


def gray_of(
    values: np.ndarray, tags: Any, transparent: Any, given: Range | None
) -> tuple[np.ndarray, Depth]:
    """Convert gray values of more than 8 bits to (h, w) uint8.

    Args:
        values: the values (h, w); ``tags``: those of a TIFF.
        transparent: the value that is shown white, if there is one.
        given: what becomes black and white.
    """
    floats, bits = values.dtype.kind == "f", first_value(tags, BITS) or 8 * values.itemsize
    least, largest = float(values.min()), float(values.max())
    if not np.isfinite(values).all():
        raise BadImage(f"gray of {bits}-bit floats with NaN or infinite values: replace them")
    black, white = given or (0.0, 1.0 if floats else 65535.0)
    if given is None and not (black <= least and largest <= white):
        kind = "floats" if floats else "integers"
        raise BadImage(
            f"gray of {bits}-bit {kind} from {least:,g} to {largest:,g}, outside of {black:g} to "
            f"{white:,g}: set gray_range of these images to what should be black and white"
        )
    depth = Depth(False, largest, (largest - black) / (white - black))
    if given is not None:
        scaled = (np.clip(values.astype(np.float64), black, white) - black) * (
            255 / (white - black)
        )
    else:
        scaled = values * 255 if floats else values / 257.0
    gray = np.round(scaled).astype(np.uint8)
    if first_value(tags, PHOTOMETRIC) == WHITE_IS_ZERO:
        gray = 255 - gray  # Pillow inverts gray of 8 bits alone
    return (gray if transparent is None else np.where(values == transparent, 255, gray)), depth


def require_readable(image: Image.Image) -> None:
    """Refuse TIFFs that Pillow reads wrongly without a word.

    Raises:
        BadImage: it takes negative numbers for light, the colours of a palette of 8 bits for black,
            or, in uncompressed planes, bytes for whole numbers and forgets what zero means.
    """
    about = getattr(image, "tag_v2", {})
    bits = first_value(about, BITS)
    if first_value(about, SAMPLE_FORMAT) == SIGNED and bits == 8:
        raise BadImage("a TIFF of signed 8-bit numbers: convert it to unsigned ones")
    odd = (
        bits not in (None, 1, 8)
        or first_value(about, PHOTOMETRIC) == WHITE_IS_ZERO
        or first_value(about, FILL_ORDER) == REVERSED
    )
    if first_value(about, PLANES) == APART and image.info.get("compression") == "raw" and odd:
        raise BadImage(
            "an uncompressed TIFF in planes (PlanarConfiguration 2) of a kind that can't be read: "
            "save it with PlanarConfiguration 1 (contiguous), or compressed"
        )
    colours = about.get(COLOURS)
    if colours and 0 < max(colours) < 256:
        raise BadImage("a TIFF whose palette has colours of 8 bits, not 16: convert it to RGB")


def first_value(tags: Any, number: int) -> Any:
    """The (first) value of a tag of a TIFF; None without it."""
    value = tags.get(number)
    return value[0] if isinstance(value, tuple) and value else value


def scale_transparent(image: Image.Image) -> None:
    """Scale the transparent colour of a PNG as Pillow scales its pixels, which it forgets."""
    given, packing = image.info.get("transparency"), _packing(image)
    factor = {"L;2": 85, "L;4": 17}.get(packing)
    if isinstance(given, int) and factor:
        image.info["transparency"] = given * factor
    elif isinstance(given, tuple) and packing == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in given)


def _packing(image: Image.Image) -> str:
    """How the pixels of a file that isn't decoded yet are packed, as Pillow calls it."""
    tiles = getattr(image, "tile", None)
    packing = tiles[0].args if tiles else None
    packing = packing[0] if isinstance(packing, tuple) and packing else packing
    return packing if isinstance(packing, str) else ""


def is_deep_colour(image: Image.Image) -> bool:
    """Whether a file that isn't decoded yet has more than 8 bits per channel, in colour or with
    alpha. Pillow keeps the upper 8."""
    gray = image.mode.startswith("I") or image.mode == "F"
    return not gray and ";16" in _packing(image)


def colour_depth(image: Image.Image) -> Depth:
    bands = [
        band for name, band in zip(image.getbands(), image.split(), strict=True) if name != "A"
    ]
    largest = max(int(np.asarray(band).max()) for band in bands)
    return Depth(True, largest * 257.0, largest / 255)
