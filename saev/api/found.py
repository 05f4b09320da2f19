"""What fires on one image, and where."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from saev.api.overlay import Style, coloured, draw, require_style
from saev.api.places import latent_number
from saev.core import shown
from saev.core.errors import UserError
from saev.dashboard.heatmaps import as_bytes
from saev.dashboard.thumbnails import thumbnail
from saev.images.damage import BadImage
from saev.images.decode import to_rgb
from saev.images.geometry import Geometry

N_SHOWN = 6
"""Latents that a notebook shows of an image."""


class Lens(NamedTuple):
    """What an image is seen through."""

    geometry: Geometry
    gray_range: tuple[float, float] | None
    """In gray images of more than 8 bits, the values that become black and white."""
    largest: np.ndarray | None
    """(n,) float32, the largest activation of each latent in the run; None without a run."""


@dataclass(frozen=True, eq=False)
class Found:
    """What fires on one image."""

    latents: np.ndarray
    """(m,) int64, the latents that fire, by falling activation; in a tie, by number."""
    values: np.ndarray
    """(m,) float32, their activations. Of patches, the largest."""
    patches: np.ndarray | None
    """(m,) int64, the patch with that activation (the first one of a tie); None without patches."""
    grid: tuple[int, int] | None
    """Height and width of the grid of patches."""
    n_latents: int
    """Size of the dictionary."""
    _fired: tuple[np.ndarray, np.ndarray, np.ndarray]
    """All nonzero activations, (f,) each: patch int64, latent int64, activation float32."""
    _lens: "Lens"

    def __repr__(self) -> str:
        return shown.line("found", self._title, self._strongest())

    def _repr_html_(self) -> str:
        tiles = [
            shown.Tile(f"{latent} ({shown.number(value)})", self._maps(latent))
            for latent, value in self._strongest().items()
        ]
        grid = "" if self.grid is None else f"{self.grid[0]} × {self.grid[1]}"
        return shown.card("found", self._title, {"patches": grid}, tiles)

    @property
    def _title(self) -> str:
        return f"{len(self.latents):,} of {self.n_latents:,} latents fire"

    def _strongest(self) -> dict[str, float]:
        """The largest activations, by latent as text."""
        pairs = zip(self.latents[:N_SHOWN].tolist(), self.values.tolist(), strict=False)
        return {f"latent {latent}": value for latent, value in pairs}

    def _maps(self, latent: str) -> list[str]:
        if self.grid is None:
            return []
        heat = self._heat(int(latent.split()[-1]))
        return [shown.png(coloured(heat))]

    def map(self, latent: int) -> np.ndarray:
        """Activation of one latent on each patch: (height, width) float32, 0 where it doesn't fire.

        Raises:
            UserError: there is no such latent, or the dictionary isn't one of patches.
        """
        latent = latent_number(latent, self.n_latents)
        if self.grid is None:
            raise UserError(
                "there is no map: this dictionary sees one vector per image. Use one of patches"
            )
        patch, latents, values = self._fired
        out = np.zeros(self.grid, np.float32)
        out.flat[patch[latents == latent]] = values[latents == latent]
        return out

    def overlay(
        self, image: Image.Image, latent: int, style: Style = "spotlight", side: int = 320
    ) -> Image.Image:
        """The image with a latent's activation map over it, as the page of the run draws it.

        Shows what the model sees of the image. The map's largest value is the latent's largest
        activation in the run; without a run, or for a latent that never fired there, it is the
        largest on this image.

        Args:
            image: the image that this was found on.
            latent: the number of the latent.
            style: ``spotlight`` darkens what the latent doesn't see, ``heat map`` colours each
                patch.
            side: pixels of the longer side.

        Returns:
            RGB.

        Raises:
            UserError: there is no such latent or style, the dictionary isn't one of patches, or
                the image can't be used.
        """
        heat = self._heat(latent)
        require_style(style)
        rgb = rgb_of(image, "the image", self._lens.gray_range)
        if min(self._lens.geometry.resized(*rgb.size)) < 1:
            raise UserError(f"the image is too narrow: {rgb.width} × {rgb.height} pixels")
        return draw(thumbnail(rgb, self._lens.geometry.crop(*rgb.size), side), heat, style)

    def _heat(self, latent: int) -> np.ndarray:
        """The map of a latent as the page keeps it: (height, width) uint8."""
        values = self.map(latent)
        largest = 0.0 if self._lens.largest is None else self._lens.largest[latent]
        heat = np.zeros(values.shape, np.uint8)
        fires = values > 0
        if fires.any():
            heat[fires] = as_bytes(values[fires], largest if largest > 0 else values.max())
        return heat


def rgb_of(image: Any, name: str, gray_range: tuple[float, float] | None) -> Image.Image:
    """An image from a program in RGB, as files are decoded.

    Args:
        image: what should be an image of Pillow.
        name: its name in messages.
        gray_range: see `Lens`.

    Raises:
        UserError: it isn't one, or can't be decoded.
    """
    if not isinstance(image, Image.Image):
        raise UserError(
            f"{name} is a {type(image).__name__}, not an image of Pillow: open files "
            f"with PIL.Image.open, and convert arrays with PIL.Image.fromarray"
        )
    if 0 in image.size:
        raise UserError(f"{name} is empty: {image.width} × {image.height} pixels")
    try:
        return to_rgb(image, gray_range).image
    except BadImage as error:
        raise UserError(f"{name} can't be used: {error}") from error
