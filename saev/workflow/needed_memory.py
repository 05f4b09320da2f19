"""How much memory a job needs at least, where that follows from the sizes in the settings."""

import resource
from functools import cache
from pathlib import Path
from typing import NamedTuple

from saev.core import logs
from saev.core.blocks import BLOCK
from saev.settings.vit import VitSettings
from saev.workflow.known_towers import vision_config
from saev.workflow.plan import Plan

PROGRAM = 1500
"""MB of Python, PyTorch and the libraries."""
ADDRESSES = 5e9
"""Bytes of addresses that a program with PyTorch takes, most of them never used: 4.7 GB measured,
with its build for CUDA."""
FLOAT = 4
MB = 1e6


def say_limit() -> None:
    """Say if this shell limits addresses so much that jobs can't load PyTorch. They would end in
    the words of some library, before saev can say anything."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < ADDRESSES:
        logs.say(
            f"warning: this shell limits each program to {limit / 1e9:.1f} GB of addresses "
            f"(ulimit -v), and PyTorch takes up to {ADDRESSES / 1e9:.0f} GB: if jobs fail to load "
            f"it, run ulimit -v unlimited first"
        )


class TowerSizes(NamedTuple):
    """Of a tower, from which its memory and time follow."""

    layers: int
    width: int
    n_patches: int
    mlp_ratio: float

    @property
    def n_weights(self) -> float:
        """How many weights its blocks have."""
        return self.layers * self.width**2 * (4 + 2 * self.mlp_ratio)

    @property
    def operations(self) -> float:
        """How many floating-point operations an image takes."""
        tokens = self.n_patches + 1
        return 2 * tokens * self.n_weights + 4 * tokens**2 * self.width * self.layers


@cache
def sizes(plan: Plan, vit: str) -> TowerSizes | None:
    """The sizes of a tower; None if it isn't known before the tower is loaded."""
    settings: VitSettings = plan.settings("vit", vit)
    config = vision_config(settings.model)
    names = ("layers", "width", "patch_size", "image_size")
    known = [config[name] for name in names if isinstance(config.get(name), int)]
    if len(known) < len(names):
        return None
    layers, width, patch, side = known
    n_patches = ((settings.image_size or side) // patch) ** 2
    return TowerSizes(layers, width, n_patches, config.get("mlp_ratio", 4.0))


@cache
def recording(plan: Plan, vit: str) -> int:
    """MB to load a tower and record with it; 0 if its shape isn't known before it is loaded."""
    settings: VitSettings = plan.settings("vit", vit)
    known = sizes(plan, vit)
    if known is None:
        return 0
    tower, file = known.n_weights * FLOAT, Path(settings.weights or "")
    # A file is whole in memory while it is loaded. Those of CLIP also hold the tower of texts.
    loaded = file.stat().st_size if file.is_file() else 1.6 * tower
    image = (known.n_patches + 1) * known.width * FLOAT
    kept = BLOCK * image * len(settings.layers) * 2 if "patches" in settings.tokens else 0
    return round(PROGRAM + (tower + loaded + 32 * image * (known.mlp_ratio + 8) + kept) / MB)


@cache
def dictionary(plan: Plan, vit: str, sae: str, copies: int) -> int:
    """MB to hold a dictionary several times; 0 if the width of its vectors isn't known.

    Args:
        copies: a training holds values, gradients, two moments and what it saves of them.
    """
    settings = plan.settings("sae", sae)
    known = width(plan, vit, settings.tokens == "pooled")
    n_latents = plan.component("sae", sae).get("n_latents", getattr(settings, "n_latents", None))
    if known is None or n_latents is None:
        return 0
    return round(2 * PROGRAM + copies * 2 * n_latents * known * FLOAT / MB)


@cache
def width(plan: Plan, vit: str, pooled: bool) -> int | None:
    """Width of a tower's vectors; None if it isn't known before the tower is loaded."""
    config = vision_config(plan.settings("vit", vit).model)
    found = config.get("embed_dim" if pooled else "width")
    return found if isinstance(found, int) and "timm_model_name" not in config else None
