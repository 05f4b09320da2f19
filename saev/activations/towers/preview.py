"""Checks towers without loading them: names, tags, and whether a weights file fits.

python -m saev.activations.towers.preview < SETTINGS

SETTINGS is a JSON list of settings. Prints a JSON list: for each, `error`, or what the tower has.
With `texts: true` among the settings, it is about the text tower that belongs to the tower. No
weight is drawn and nothing is downloaded. It is a program of its own because it imports PyTorch.
"""

import json
import sys
import warnings
from typing import Any

import torch

from saev.activations.towers.text_tower import load_text_tower
from saev.activations.towers.tower import load_tower
from saev.activations.towers.unpickled import first_line
from saev.core.errors import UserError
from saev.images.geometry import Geometry
from saev.settings.vit import VitSettings

TEXTS = "texts"


def preview(given: dict[str, Any]) -> dict[str, Any]:
    """What a tower has (``n_blocks``, ``has_class_token``, ``n_patches``), or the ``error`` in its
    settings, or why it is ``unchecked``: PyTorch can't compute all of it without numbers."""
    plain = {name: value for name, value in given.items() if name != TEXTS}
    try:
        with torch.device("meta"):
            settings = VitSettings.model_validate_json(json.dumps(plain))
            if TEXTS in given:
                load_text_tower(settings, "meta")
                return {}
            backbone = load_tower(settings, "meta").backbone
            _require_whole_patches(settings, backbone.geometry)
    except UserError as error:
        return {"error": str(error)}
    except RuntimeError as error:  # PyTorch's own; the other towers are still checked
        return {"unchecked": f"{type(error).__name__}: {first_line(error)}"}
    rows, columns = backbone.geometry.grid
    return {
        "n_blocks": backbone.n_blocks,
        "has_class_token": backbone.has_class_token,
        "n_patches": rows * columns,
    }


def _require_whole_patches(settings: VitSettings, geometry: Geometry) -> None:
    """Refuse a chosen ``image_size`` of which the tower wouldn't see the right and lower edge."""
    side, patch = geometry.image_size, geometry.patch_size
    left_over = side - geometry.grid[0] * patch
    if settings.image_size is None or left_over <= 0:
        return
    plain = load_tower(settings.model_copy(update={"image_size": None}), "meta")
    if plain.geometry.image_size != side:  # the model's own size is as it was trained
        raise UserError(
            f"image_size: {side} isn't a multiple of {patch}, the side of a patch of "
            f"{settings.model}, so {left_over} pixels at two edges would never be seen: use "
            f"{side - left_over} or {side - left_over + patch}"
        )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps([preview(given) for given in json.load(sys.stdin)]))
