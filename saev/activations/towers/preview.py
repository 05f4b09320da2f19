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
from saev.core.errors import UserError
from saev.settings.vit import VitSettings


def preview(given: dict[str, Any]) -> dict[str, Any]:
    """What a tower has (``n_blocks``, ``has_class_token``), or the ``error`` in its settings;
    empty if that can't be found out here."""
    try:
        with torch.device("meta"):
            backbone = load_tower(
                VitSettings.model_validate_json(json.dumps(given)), "meta"
            ).backbone
    except UserError as error:
        return {"error": str(error)}
    except Exception:
        return {}  # on this device nothing can be said; the other towers are still checked
    return {"n_blocks": backbone.n_blocks, "has_class_token": backbone.has_class_token}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps([preview(given) for given in json.load(sys.stdin)]))
