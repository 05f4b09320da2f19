"""The kinds of towers, and the choice between them by the model's name."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import torch

from saev.activations.towers.backbone import Backbone, UnknownModel
from saev.activations.towers.open_clip import OpenClip
from saev.activations.towers.timm import Timm
from saev.activations.towers.weights import is_file_name
from saev.core.errors import UserError
from saev.settings.vit import VitSettings

KINDS: tuple[type[Backbone], ...] = (Timm, OpenClip)
"""A model belongs to the first kind whose prefix fits its name."""
NAMES = "open_clip's names, hf-hub:owner/name, timm/name, or the path of a .json configuration"
"""Allowed values of `model`, for messages."""

_DRAWING = Lock()
"""Held while a tower is built, because all threads share PyTorch's default random generator."""


def build(settings: VitSettings) -> Backbone:
    """Build the tower that ``settings`` name, on the CPU. Leaves PyTorch's random state unchanged.

    Raises:
        UserError: see `saev.activations.towers.tower.load_tower`.
    """
    name = settings.weights
    if name and is_file_name(name) and not Path(name).is_file():
        raise UserError(f"weights: there is no file {name}")
    if name == "random" and settings.weights_sha256:
        raise UserError("weights_sha256 is stated, but weights is random: leave one of them out")
    kind = next(kind for kind in KINDS if settings.model.startswith(kind.prefix))
    with _DRAWING, torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also seed the GPUs, where nothing is drawn.
        torch.default_generator.manual_seed(settings.weights_seed)
        try:
            return kind.build(settings)
        except UnknownModel as error:
            near = _near(settings.model, error.known)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise UserError(
                f"model: there is no {settings.model!r}{hint or '.'} Allowed are {NAMES}"
            ) from None


def _near(model: str, known: Sequence[str]) -> list[str]:
    """Names of models that may be meant, whatever the case of their letters."""
    from timm import is_model

    if is_model(model):
        return [f"timm/{model}"]
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(model.lower(), by_lower, n=3, cutoff=0.6)
    return [by_lower[name] for name in near]
