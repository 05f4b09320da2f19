"""Which part of an image the model sees, and at which size.

The dashboard uses it too, so that a heat map fits what the model saw.
"""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from PIL import Image

from saev.images.damage import BadImage
from saev.images.decode import MAX_PIXELS

RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


class Box(NamedTuple):
    """A rectangle in pixels of the image as a person sees it. May extend beyond the image."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class Geometry:
    """How an image becomes the square input of a tower, as numbers.

    First it is resized: its ``shortest`` or ``longest`` side to ``resize_size``, or both sides
    (``squash``). Then the central square of side ``image_size`` is cut out, and padded with black
    where it extends beyond the image. The result equals open_clip's ``image_transform`` and timm's
    ``transforms_imagenet_eval`` bit by bit.
    """

    image_size: int
    """Side of the input in pixels."""
    resize_mode: Literal["shortest", "longest", "squash"]
    resize_size: int
    interpolation: Literal["bicubic", "bilinear"]
    mean: tuple[float, float, float]
    """Mean per channel, subtracted from pixels scaled to 0 … 1."""
    std: tuple[float, float, float]
    """Standard deviation per channel; pixels are divided by it."""
    patch_size: int
    grid: tuple[int, int]
    """Rows and columns of patches."""

    @classmethod
    def from_summary(cls, summary: dict[str, Any]) -> Self:
        """The inverse of `summary`."""
        names = [f.name for f in fields(cls)]
        values: dict[str, Any] = {name: summary[name] for name in names}
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**values)

    def summary(self) -> dict[str, Any]:
        """The fields, for `meta.json`."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """Width and height after the resize of an image of ``width`` × ``height``."""
        size = self.resize_size
        if self.resize_mode == "squash":
            return size, size
        if self.resize_mode == "shortest":
            # torchvision truncates the longer side; open_clip's "longest" rounds it.
            if width <= height:
                return size, int(size * height / width)
            return int(size * width / height), size
        ratio = max(width, height) / size
        return round(width / ratio), round(height / ratio)

    def _corner(self, width: int, height: int) -> tuple[int, int]:
        """Left and top edge of the input in the resized image; negative where it is padded."""
        corner = []
        for side in (width, height):
            if side < self.image_size:
                corner.append(-((self.image_size - side) // 2))
            else:
                corner.append(round((side - self.image_size) / 2.0))
        return corner[0], corner[1]

    def crop(self, width: int, height: int) -> Box:
        """The part that the model sees of an image of ``width`` × ``height``."""
        new_width, new_height = self.resized(width, height)
        left, top = self._corner(new_width, new_height)
        across, down = width / new_width, height / new_height
        right, bottom = left + self.image_size, top + self.image_size
        return Box(left * across, top * down, right * across, bottom * down)

    def pixels(self, image: Image.Image) -> np.ndarray:
        """The input of the model before normalisation: (image_size, image_size, 3) uint8.

        Raises:
            BadImage: the image is too narrow.
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
        """The part of ``image`` (from `open_rgb`) that the model sees, ``side`` pixels wide."""
        box = self.crop(*image.size)
        if min(box[:2]) < 0 or box.right > image.width or box.bottom > image.height:
            whole = [round(edge) for edge in box]
            image = image.crop((whole[0], whole[1], whole[2], whole[3]))
            return image.resize((side, side), Image.Resampling.LANCZOS)
        return image.resize((side, side), Image.Resampling.LANCZOS, box=box)
