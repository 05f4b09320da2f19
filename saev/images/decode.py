"""From the bytes of an image to what a person sees.

`geometry` says which part of that the model sees.
"""

import warnings
import zlib
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from saev.images.damage import damage
from saev.images.float_tiffs import FloatTiff, float_tiff
from saev.images.sources.formats import PILLOW
from saev.images.sources.source import read_regular

Range = tuple[float, float]
MAX_PIXELS = 178_956_970
ORIENTATION = 0x0112
BITS, PHOTOMETRIC, FILL_ORDER, PLANES, COLOURS, SAMPLE_FORMAT = 258, 262, 266, 284, 320, 339
"""Tags of TIFF."""
WHITE_IS_ZERO, UNSIGNED, SIGNED, APART, REVERSED = 0, 1, 2, 2, 2
"""Values of these tags."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BadImage(Exception):
    """An image that can't be read. The text is a short reason, the same on every try."""


class Depth(NamedTuple):
    """How much of its range an image of more than 8 bits per channel uses."""

    colour: bool
    """Whether it is in colour. Pillow keeps only 8 bits of those."""
    largest: float
    """Its largest value."""
    white: float
    """Where that lies between black (0) and white (1). Larger than 1: it is cut off."""


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
            raise BadImage(_unidentified(data)) from error
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
    gray, depth = _gray(values, floats.tags, None, gray_range)
    return Decoded(_turned(Image.fromarray(gray).convert("RGB"), floats.orientation), depth)


def to_rgb(image: Image.Image, gray_range: Range | None = None) -> Decoded:
    """Convert an image opened with Pillow to RGB as a person sees it, as `decode` does.

    Raises:
        BadImage: the image can't be decoded; says why.
    """
    try:
        depth: Depth | None
        deep_colour = _is_deep_colour(image)
        _require_readable(image)
        _scale_transparent(image)
        image.load()
        if image.mode.startswith("I;16") or image.mode in ("I", "F"):
            tags = getattr(image, "tag_v2", {})
            values = np.asarray(image)
            if image.mode == "I" and _first(tags, SAMPLE_FORMAT) == UNSIGNED:
                values = values.view(np.uint32)  # Pillow takes them for signed
            gray, depth = _gray(values, tags, image.info.get("transparency"), gray_range)
            rgb, hidden = Image.fromarray(gray).convert("RGB"), False
        else:
            (rgb, hidden), depth = _as_rgb(image), _colour_depth(image) if deep_colour else None
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


def _gray(
    values: np.ndarray, tags: Any, transparent: Any, given: Range | None
) -> tuple[np.ndarray, Depth]:
    """Convert gray values of more than 8 bits to (h, w) uint8.

    Args:
        values: the values (h, w); ``tags``: those of a TIFF.
        transparent: the value that is shown white, if there is one.
        given: what becomes black and white.
    """
    floats, bits = values.dtype.kind == "f", _first(tags, BITS) or 8 * values.itemsize
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
    if _first(tags, PHOTOMETRIC) == WHITE_IS_ZERO:
        gray = 255 - gray  # Pillow inverts gray of 8 bits alone
    return (gray if transparent is None else np.where(values == transparent, 255, gray)), depth


def _require_readable(image: Image.Image) -> None:
    """Refuse TIFFs that Pillow reads wrongly without a word.

    Raises:
        BadImage: it takes negative numbers for light, the colours of a palette of 8 bits for black,
            or, in uncompressed planes, bytes for whole numbers and forgets what zero means.
    """
    about = getattr(image, "tag_v2", {})
    bits = _first(about, BITS)
    if _first(about, SAMPLE_FORMAT) == SIGNED and bits == 8:
        raise BadImage("a TIFF of signed 8-bit numbers: convert it to unsigned ones")
    odd = (
        bits not in (None, 1, 8)
        or _first(about, PHOTOMETRIC) == WHITE_IS_ZERO
        or _first(about, FILL_ORDER) == REVERSED
    )
    if _first(about, PLANES) == APART and image.info.get("compression") == "raw" and odd:
        raise BadImage(
            "an uncompressed TIFF in planes (PlanarConfiguration 2) of a kind that can't be read: "
            "save it with PlanarConfiguration 1 (contiguous), or compressed"
        )
    colours = about.get(COLOURS)
    if colours and 0 < max(colours) < 256:
        raise BadImage("a TIFF whose palette has colours of 8 bits, not 16: convert it to RGB")


def _first(tags: Any, number: int) -> Any:
    """The (first) value of a tag of a TIFF; None without it."""
    value = tags.get(number)
    return value[0] if isinstance(value, tuple) and value else value


def _scale_transparent(image: Image.Image) -> None:
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


def _is_deep_colour(image: Image.Image) -> bool:
    """Whether a file that isn't decoded yet has more than 8 bits per channel, in colour or with
    alpha. Pillow keeps the upper 8."""
    gray = image.mode.startswith("I") or image.mode == "F"
    return not gray and ";16" in _packing(image)


def _colour_depth(image: Image.Image) -> Depth:
    bands = [
        band for name, band in zip(image.getbands(), image.split(), strict=True) if name != "A"
    ]
    largest = max(int(np.asarray(band).max()) for band in bands)
    return Depth(True, largest * 257.0, largest / 255)


def _unidentified(data: bytes) -> str:
    """Why Pillow can't identify a file, judged by its first bytes."""
    text = data[:512].lstrip().lower()
    brand = data[8:12] if data[4:8] == b"ftyp" else b""
    kinds = {
        "DICOM": data[128:132] == b"DICM",
        "HEIC": brand in (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"heim", b"heis"),
        "camera raw (CR3)": brand == b"crx ",
        "camera raw (RAF)": data.startswith(b"FUJIFILMCCD-RAW"),
        "camera raw (RW2)": data.startswith(b"IIU\0"),
        "camera raw (ORF)": data[:4] in (b"IIRO", b"IIRS", b"MMOR"),
        "JPEG XL": data.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")),
        "SVG": text.startswith(b"<svg") or (text.startswith(b"<?xml") and b"<svg" in text),
        "HTML": text.startswith((b"<!doctype html", b"<html")),
        "PDF": data.startswith(b"%PDF"),
        "OpenEXR": data.startswith(b"\x76\x2f\x31\x01"),
    }
    for name, found in kinds.items():
        if found:
            return f"is {name}, which can't be read: convert it to PNG, TIFF or JPEG"
    if data.startswith(b"version https://git-lfs.github.com/"):
        return "is a pointer of Git LFS and not the image: fetch it with git lfs pull"
    starts: dict[str, bytes | tuple[bytes, ...]] = {
        "JPEG": b"\xff\xd8",
        "PNG": b"\x89PNG",
        "GIF": b"GIF8",
        "TIFF": (b"II*\0", b"MM\0*"),
        "WebP": b"RIFF",
        "BMP": b"BM",
    }
    for name, start in starts.items():
        if data.startswith(start):
            return f"damaged or unsupported {name}: its header can't be read"
    return "not a picture of a known format"
