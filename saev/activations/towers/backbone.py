"""What towers of every library offer, and helpers that several of them use.

To add a kind, write a subclass of `Backbone` in a new file and add it to `KINDS` in
`saev.activations.towers.kinds`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

from jaxtyping import Float
from torch import Tensor, nn

from saev.core.errors import UserError
from saev.images.geometry import RESAMPLING, Geometry
from saev.settings.vit import VitSettings


class Outputs(NamedTuple):
    """Outputs of some blocks of a tower, and of the whole tower."""

    patches: Sequence[Float[Tensor, "b n_patches d"]]
    """Residual stream of the patches after each block, row by row of the grid. No other tokens."""
    cls: Sequence[Float[Tensor, "b d"]] | None
    """The same for the class token; None for a tower without one."""
    pooled: Float[Tensor, "b d"] | None
    """The tower's own output; None if it wasn't requested."""


@dataclass(frozen=True)
class Backbone(ABC):
    """A vision transformer from a library."""

    module: nn.Module
    """Maps inputs (b, 3, h, w) to the tower's own output. `build` puts it on the CPU."""
    geometry: Geometry
    n_blocks: int
    has_class_token: bool
    weights_sha256: str | None
    """SHA-256 of the weights file; None for random weights."""
    commit: str | None = None
    """Commit of the hub's repository that the weights come from; None for other weights."""

    prefix: ClassVar[str]
    """Prefix of the names of its models; empty to take all names that no other kind takes."""

    @classmethod
    @abstractmethod
    def build(cls, settings: VitSettings) -> Self:
        """Build the tower that ``settings`` name, and load its weights or draw them on the CPU.

        Raises:
            UnknownModel: the library has no such model.
            UserError: the model can't be recorded, or its weights are missing, damaged or of
                another model.
        """

    @abstractmethod
    def outputs(
        self, inputs: Float[Tensor, "b 3 h w"], layers: tuple[int, ...], pooled: bool
    ) -> Outputs:
        """Run the blocks up to the deepest of ``layers`` (all of them if ``pooled``).

        Args:
            inputs: normalised images.
            layers: blocks, counted from 0, ascending; at least one.
            pooled: whether to return the tower's own output too.
        """


class UnknownModel(Exception):
    """A library has no model of this name. It has those in ``known``."""

    def __init__(self, known: Sequence[str]) -> None:
        super().__init__(f"one of {len(known)} models")
        self.known = known


MERGES = "it merges patches between its blocks"
TABLES = "each of its blocks has positions of its own"
LATE = "its class token joins the patches only in the last blocks"
REASONS = {
    "Beit": TABLES,
    "Cait": LATE,
    "Hiera": MERGES,
    "MultiScaleVit": MERGES,
    "NaFlexVit": "its grid of patches depends on the image",
    "PoolingVisionTransformer": MERGES,
    "SwinTransformer": MERGES,
    "SwinTransformerV2": MERGES,
    "VOLO": MERGES,
    "VisionTransformerRelPos": TABLES,
    "VisionTransformerSAM": "most of its blocks see only windows of the image",
    "Xcit": LATE,
}
"""Why transformers of some classes can't be recorded."""


def not_recordable(module: nn.Module, model: str) -> UserError:
    """The error for a model that can't be recorded."""
    name = type(module).__name__
    what = (
        f"which can't be recorded: {REASONS[name]}"
        if name in REASONS
        else "not a vision transformer with blocks"
    )
    return UserError(
        f"model: {model} is a {name}, {what}; allowed are open_clip's VisionTransformer and timm's "
        f"VisionTransformer and Eva"
    )


def geometry_of(
    model: str,
    input_size: int | Sequence[int],
    patch_size: Sequence[int],
    preprocess: dict[str, Any],
    crop_pct: float = 1.0,
    grid: tuple[int, int] | None = None,
) -> Geometry:
    """The geometry of a tower's input.

    Args:
        model: name of the model, for errors.
        input_size: height and width in pixels, or the side of a square.
        patch_size: height and width of a patch in pixels.
        preprocess: ``resize_mode``, ``interpolation``, ``mean`` and ``std``, as in `Geometry`.
        crop_pct: side of the input as a fraction of the resized image's side.
        grid: rows and columns of patches; None if they follow from the sizes.

    Raises:
        UserError: something isn't square, or the interpolation isn't supported.
    """
    height, width = (input_size, input_size) if isinstance(input_size, int) else input_size
    if height != width:
        raise UserError(f"{model} sees {height} × {width} pixels; only squares are supported")
    if patch_size[0] != patch_size[1]:
        raise UserError(
            f"patches of {patch_size[0]} × {patch_size[1]} pixels aren't square: not supported"
        )
    if preprocess["interpolation"] not in RESAMPLING:
        raise UserError(
            f"{model} needs images resized by {preprocess['interpolation']!r}; supported are "
            f"{', '.join(RESAMPLING)}"
        )
    side, patch = int(height), int(patch_size[0])
    return Geometry(
        image_size=side,
        resize_mode=preprocess["resize_mode"],
        resize_size=int(side / crop_pct),
        interpolation=preprocess["interpolation"],
        mean=tuple(preprocess["mean"]),
        std=tuple(preprocess["std"]),
        patch_size=patch,
        grid=grid or (side // patch, side // patch),
    )
