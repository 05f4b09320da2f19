"""From the bytes of a picture to the pixels that a tower sees.

`open_rgb` gives what a person sees; `Geometry` says which part of it the model sees and how large.
Both are used again where pictures are shown, so that a heat map lies on what the model saw.
"""

import math
from dataclasses import asdict, dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from PIL import Image

# The limit is a setting, checked on the header here; Pillow's own would come on top of it.
Image.MAX_IMAGE_PIXELS = None

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
RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


class BadImage(Exception):
    """A picture that can't be read; the text is a short reason, the same on every try."""


class Box(NamedTuple):
    """A rectangle in pixels of the picture as a person sees it; may reach beyond its edges."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class Geometry:
    """How a picture becomes the square input of a tower, as numbers.

    It is resized (``shortest`` or ``longest`` side to ``resize_size``, or both: ``squash``), then the
    square of ``image_size`` in its middle is cut out, padded with black where it reaches beyond.
    Equal bit by bit to open_clip's ``image_transform`` and timm's ``transforms_imagenet_eval``.
    """

    image_size: int
    """Side of the input in pixels."""
    resize_mode: Literal["shortest", "longest", "squash"]
    resize_size: int
    interpolation: Literal["bicubic", "bilinear"]
    mean: tuple[float, float, float]
    """Per channel, of pixels scaled to 0 … 1; subtracted."""
    std: tuple[float, float, float]
    """Per channel; divided by."""
    patch_size: int
    grid: tuple[int, int]
    """Rows and columns of patches."""

    @classmethod
    def from_summary(cls, summary: dict[str, Any]) -> Self:
        """Read what `summary` gave (lists where JSON has no tuples)."""
        names = [f.name for f in fields(cls)]
        values: dict[str, Any] = {name: summary[name] for name in names}
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**values)

    def summary(self) -> dict[str, Any]:
        """The fields, for `meta.json`."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """Width and height after the resize of a picture of ``width`` × ``height``."""
        size = self.resize_size
        if self.resize_mode == "squash":
            return size, size
        if self.resize_mode == "shortest":
            # torchvision cuts the longer side off, open_clip's "longest" rounds it.
            if width <= height:
                return size, int(size * height / width)
            return int(size * width / height), size
        ratio = max(width, height) / size
        return round(width / ratio), round(height / ratio)

    def _corner(self, width: int, height: int) -> tuple[int, int]:
        """Left and top of the input in the resized picture; negative where it is padded."""
        corner = []
        for side in (width, height):
            if side < self.image_size:
                corner.append(-((self.image_size - side) // 2))
            else:
                corner.append(round((side - self.image_size) / 2.0))
        return corner[0], corner[1]

    def crop(self, width: int, height: int) -> Box:
        """The part that the model sees of a picture of ``width`` × ``height``."""
        new_width, new_height = self.resized(width, height)
        left, top = self._corner(new_width, new_height)
        across, down = width / new_width, height / new_height
        right, bottom = left + self.image_size, top + self.image_size
        return Box(left * across, top * down, right * across, bottom * down)

    def pixels(self, image: Image.Image) -> np.ndarray:
        """The input of the model before normalisation: (image_size, image_size, 3) uint8.

        Raises:
            BadImage: the picture is so narrow that nothing is left of it.
        """
        size = self.resized(*image.size)
        if min(size) < 1:
            raise BadImage(f"{image.width} × {image.height} pixels: too narrow to resize")
        if math.prod(size) > MAX_PIXELS:
            raise BadImage(f"{image.width} × {image.height} pixels: too narrow for a square crop")
        image = image.resize(size, RESAMPLING[self.interpolation])
        left, top = self._corner(*size)
        image = image.crop((left, top, left + self.image_size, top + self.image_size))
        return np.asarray(image)

    def view(self, image: Image.Image, side: int) -> Image.Image:
        """The part of ``image`` (as `open_rgb` gives it) that the model sees, ``side`` pixels wide."""
        box = self.crop(*image.size)
        if min(box[:2]) < 0 or box.right > image.width or box.bottom > image.height:
            whole = [round(edge) for edge in box]
            image = image.crop((whole[0], whole[1], whole[2], whole[3]))
            return image.resize((side, side), Image.Resampling.LANCZOS)
        return image.resize((side, side), Image.Resampling.LANCZOS, box=box)


def open_rgb(source: str | Path | bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a picture to RGB as a person sees it.

    Turned as EXIF says; the first frame of several; transparency over white; 16-bit gray scaled by
    1/257; floats from 0 to 1 scaled by 255.

    Args:
        source: a file, or its bytes.
        max_pixels: refuse larger ones by their header, before memory is taken.

    Raises:
        BadImage: it can't be read; says why.
    """
    try:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
    except OSError as error:
        raise BadImage(f"the file can't be read: {error.strerror}") from error
    if not data:
        raise BadImage("the file is empty")
    try:
        image = Image.open(BytesIO(data))
    except Exception as error:
        # Pillow's plugins raise whatever a damaged header leads them to.
        raise BadImage(_unidentified(data)) from error
    width, height = image.size
    if width * height > max_pixels:
        raise BadImage(
            f"{width:,} × {height:,} pixels are more than max_pixels ({max_pixels:,}) allows"
        )
    return to_rgb(image)


def to_rgb(image: Image.Image) -> Image.Image:
    """A picture that Pillow has opened, in RGB as a person sees it: by the rules of `open_rgb`.

    Raises:
        BadImage: it can't be decoded; says why.
    """
    try:
        image.load()
        return _turned(_as_rgb(image), _orientation(image))
    except BadImage:
        raise
    except MemoryError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise BadImage(f"damaged {image.format or 'picture'}: {reason}") from error


def _orientation(image: Image.Image) -> int:
    """EXIF orientation after loading (Pillow has already turned TIFFs, and then says 1)."""
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:  # a damaged EXIF block doesn't make a picture unreadable
        return 1


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def _as_rgb(image: Image.Image) -> Image.Image:
    mode = image.mode
    if mode == "RGB" and "transparency" not in image.info:
        return image
    if mode.startswith("I;16") or mode in ("I", "F"):
        return Image.fromarray(_gray(image)).convert("RGB")
    if "transparency" in image.info or mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        layer = image.convert("LA").convert("RGBA") if mode == "La" else image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    if mode == "LAB":
        raise BadImage("Lab colours: convert the picture to RGB")
    return image.convert("RGB")


def _gray(image: Image.Image) -> np.ndarray:
    """Gray of more than 8 bits as (h, w) uint8."""
    values = np.asarray(image)
    if image.mode == "F":
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise BadImage("gray of 32-bit floats outside of 0 to 1: convert it to 8 or 16 bits")
        return np.round(values * 255).astype(np.uint8)
    if image.mode == "I" and (values.min() < 0 or values.max() > 65535):
        raise BadImage("gray of 32-bit integers outside of 0 to 65,535: convert it to 16 bits")
    return np.round(values / 257.0).astype(np.uint8)


def _unidentified(data: bytes) -> str:
    """Why a file is no picture, by its first bytes."""
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
