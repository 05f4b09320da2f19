"""Checks towers without loading them: names, tags, and whether a weights file fits.

python -m saev.activations.towers.preview < SETTINGS

SETTINGS is a JSON list of settings. Prints a JSON list: for each, `error`, or what the tower has.
No weight is drawn and nothing is downloaded. It is a program of its own because it imports PyTorch.
"""

import json
import sys
import warnings
from typing import Any

import torch

from saev.activations.towers.tower import load_tower
from saev.activations.towers.unpickled import first_line
from saev.core.errors import UserError
from saev.settings.vit import VitSettings


def preview(given: dict[str, Any]) -> dict[str, Any]:
    """What a tower has (``n_blocks``, ``has_class_token``, ``n_patches``), or the ``error`` in its
    settings, or why it is ``unchecked``: PyTorch can't compute all of it without numbers."""
    try:
        with torch.device("meta"):
            backbone = load_tower(
                VitSettings.model_validate_json(json.dumps(given)), "meta"
            ).backbone
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


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps([preview(given) for given in json.load(sys.stdin)]))
