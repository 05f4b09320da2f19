"""Draws where a latent fires over an image, as the page of a run does (`assets/images.js`)."""

from typing import Literal, get_args

import numpy as np
from PIL import Image

from saev.core.errors import UserError

Style = Literal["spotlight", "heat map"]
STRENGTH = 0.7
"""Opacity of the overlay: what the page starts with."""
GRAY = (52, 58, 72)
"""With the spotlight, covers what the latent doesn't see."""
RAMP = (
    *((0, 0, 4), (66, 10, 104), (147, 38, 103)),
    *((221, 81, 58), (252, 165, 10), (252, 255, 164)),
)
"""Colours of a heat map, from 0 to the largest activation."""


def draw(image: Image.Image, heat: np.ndarray, style: Style) -> Image.Image:
    """An image under a heat map, a rectangle for each patch.

    Args:
        image: RGB, what the model sees.
        heat: (height, width) uint8, a value for each patch.
        style: ``spotlight`` darkens what the latent doesn't see, ``heat map`` colours each patch.

    Returns:
        RGB, as large as ``image``.
    """
    cover = Image.fromarray(_cover(heat, style)).resize(image.size, Image.Resampling.NEAREST)
    return Image.alpha_composite(image.convert("RGBA"), cover).convert("RGB")


def coloured(heat: np.ndarray) -> Image.Image:
    """A heat map (height, width) uint8 alone, a pixel for each patch, in RGB."""
    return Image.fromarray(np.round(_colours(heat / 255)).astype(np.uint8))


def require_style(style: str) -> None:
    """Refuse a style that isn't one.

    Raises:
        UserError: says which are.
    """
    if style not in get_args(Style):
        raise UserError(f"style: {style!r}; allowed: {', '.join(get_args(Style))}")


def _cover(heat: np.ndarray, style: Style) -> np.ndarray:
    """What lies over the image: (height, width, 4) uint8, with the opacity last."""
    v = heat / 255
    cover = np.empty((*heat.shape, 4), np.uint8)
    if style == "heat map":
        cover[..., :3], strength = np.round(_colours(v)), np.full(heat.shape, STRENGTH)
    else:
        cover[..., :3], strength = GRAY, STRENGTH * (1 - np.sqrt(v))
    cover[..., 3] = np.floor(255 * strength + 0.5)
    return cover


def _colours(v: np.ndarray) -> np.ndarray:
    """Colours (…, 3) of values from 0 to 1."""
    places = np.linspace(0, 1, len(RAMP))
    return np.stack([np.interp(v, places, channel) for channel in np.transpose(RAMP)], axis=-1)
