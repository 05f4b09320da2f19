"""From the bytes of an image to what a person sees.

`geometry` says which part of that the model sees.
"""

import warnings
import zlib
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from saev.images.bit_depth import (
    SAMPLE_FORMAT,
    UNSIGNED,
    Depth,
    Range,
    colour_depth,
    first_value,
    gray_of,
    is_deep_colour,
    require_readable,
    scale_transparent,
)
from saev.images.damage import BadImage, damage
from saev.images.float_tiffs import FloatTiff, float_tiff
from saev.images.sources.formats import PILLOW
from saev.images.sources.source import read_regular
from saev.images.unidentified import why_unidentified

MAX_PIXELS = 178_956_970
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Decoded(NamedTuple):
    """An image as a person sees it."""

    image: Image.Image
    """RGB."""
    depth: Depth | None
    """None for an image of at most 8 bits."""
    hidden: bool = False
    """Whether it is transparent throughout, and so white."""
    several: bool = False
    """Whether the file holds more pages or frames, of which this is the first."""


def take_over_pillow() -> None:
    """Let only `open_rgb` limit the number of pixels, and hide Pillow's warnings.

    saev's own programs call this at their start. It changes Pillow for the whole process, so as a
    library saev doesn't call it.
    """
    Image.MAX_IMAGE_PIXELS = None
    warnings.filterwarnings("ignore", module=r"PIL\..*")


@cache
def _known_formats() -> tuple[str, ...]:
    """Those of `PILLOW` that this Pillow was built with."""
    Image.init()
    return tuple(name for name in PILLOW if name in Image.OPEN)


def open_rgb(
    source: str | Path | bytes, max_pixels: int = MAX_PIXELS, gray_range: Range | None = None
) -> Image.Image:
    """Decode an image to RGB, as `decode` does.

    Raises:
        BadImage: the image can't be read; says why.
    """
    return decode(source, max_pixels, gray_range).image


def decode(
    source: str | Path | bytes, max_pixels: int = MAX_PIXELS, gray_range: Range | None = None
) -> Decoded:
    """Decode an image to RGB as a person sees it.

    Applies the EXIF orientation, takes the first frame of several, puts transparency on white.

    Args:
        source: a file, or its bytes.
        max_pixels: largest number of pixels. Checked in the header, before memory is allocated.
            Pillow's own limit applies too, unless the program called `take_over_pillow`.
        gray_range: the values of gray of more than 8 bits that become 0 and 255; without it, 0 and
            65535 for integers, 0 and 1 for floats.

    Raises:
        BadImage: the image can't be read; says why.
    """
    try:
        data = source if isinstance(source, bytes) else read_regular(Path(source))
    except OSError as error:
        raise BadImage(f"the file can't be read: {error.strerror}") from error
    if not data:
        raise BadImage("the file is empty")
    try:
        image = Image.open(BytesIO(data), formats=_known_formats())
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImage(
            f"larger than Pillow allows in this program ({error}): raise PIL.Image.MAX_IMAGE_PIXELS"
        ) from error
    except Exception as error:
        # Pillow's plugins raise errors of any kind for a damaged header.
        floats = float_tiff(data)
        if floats is None:
            raise BadImage(why_unidentified(data)) from error
        _require_size(floats.width, floats.height, max_pixels)
        return _of_floats(floats, data, gray_range)
    _require_size(*image.size, max_pixels)
    harm = damage(data)
    if harm:
        raise BadImage(f"damaged {image.format}: {harm}")
    if image.mode == "F" and data[:2] == b"MM" and image.info.get("compression") != "raw":
        floats = float_tiff(data)  # Pillow takes these for little-endian
        if floats is None:
            raise BadImage("a compressed TIFF of big-endian floats: save it without compression")
        return _of_floats(floats, data, gray_range)
    decoded = to_rgb(image, gray_range)
    return decoded._replace(several=_has_several(image))


def _has_several(image: Image.Image) -> bool:
    if image.format == "MPO":  # a photograph, and beside it a preview or a map of its light
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # a damaged second page doesn't make the first unreadable
        return True


def _require_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise BadImage(
            f"{width:,} × {height:,} pixels are more than max_pixels ({max_pixels:,}) allows"
        )


def _of_floats(floats: FloatTiff, data: bytes, gray_range: Range | None) -> Decoded:
    try:
        values = floats.values(data)
    except (ValueError, zlib.error) as error:
        raise BadImage(f"damaged TIFF: {error}") from error
    gray, depth = gray_of(values, floats.tags, None, gray_range)
    return Decoded(_turned(Image.fromarray(gray).convert("RGB"), floats.orientation), depth)


def to_rgb(image: Image.Image, gray_range: Range | None = None) -> Decoded:
    """Convert an image opened with Pillow to RGB as a person sees it, as `decode` does.

    Raises:
        BadImage: the image can't be decoded; says why.
    """
    try:
        depth: Depth | None
        deep_colour = is_deep_colour(image)
        require_readable(image)
        scale_transparent(image)
        image.load()
        if image.mode.startswith("I;16") or image.mode in ("I", "F"):
            tags = getattr(image, "tag_v2", {})
            values = np.asarray(image)
            if image.mode == "I" and first_value(tags, SAMPLE_FORMAT) == UNSIGNED:
                values = values.view(np.uint32)  # Pillow takes them for signed
            gray, depth = gray_of(values, tags, image.info.get("transparency"), gray_range)
            rgb, hidden = Image.fromarray(gray).convert("RGB"), False
        else:
            (rgb, hidden), depth = _as_rgb(image), colour_depth(image) if deep_colour else None
        return Decoded(_turned(rgb, _orientation(image)), depth, hidden)
    except BadImage:
        raise
    except MemoryError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise BadImage(f"damaged {image.format or 'picture'}: {reason}") from error


def _orientation(image: Image.Image) -> int:
    """EXIF orientation after loading (1 for a TIFF, which Pillow has already rotated)."""
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:  # a damaged EXIF block doesn't make an image unreadable
        return 1


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def _as_rgb(image: Image.Image) -> tuple[Image.Image, bool]:
    """Convert an image of at most 8 bits; also say whether it is transparent throughout."""
    mode = image.mode
    if mode == "RGB" and "transparency" not in image.info:
        return image, False
    if "transparency" in image.info or mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        layer = image.convert("LA").convert("RGBA") if mode == "La" else image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        rgb = Image.alpha_composite(white, layer).convert("RGB")
        return rgb, layer.getchannel("A").getextrema() == (0, 0)
    if mode == "LAB":
        raise BadImage("Lab colours: convert the picture to RGB")
    return image.convert("RGB"), False
