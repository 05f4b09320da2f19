"""The architectures by name."""

from collections.abc import Mapping
from typing import Any

import torch

from saev.errors import UserError
from saev.sae.archetypal import Archetypal
from saev.sae.base import Sae
from saev.sae.batchtopk import BatchTopK
from saev.sae.jumprelu import JumpRelu
from saev.sae.matryoshka import Matryoshka
from saev.sae.relu import Relu
from saev.sae.topk import TopK

ARCHITECTURES: dict[str, type[Sae]] = {
    cls.architecture: cls for cls in (TopK, BatchTopK, Matryoshka, Archetypal, JumpRelu, Relu)
}


def build(settings: Mapping[str, Any], d: int, generator: torch.Generator | None = None) -> Sae:
    """Make an untrained dictionary.

    Args:
        settings: ``architecture``, ``n_latents`` and what the architecture takes; others are ignored.
        d: width of the activations.
        generator: draws the initial weights.

    Raises:
        UserError: the architecture is unknown, or k exceeds the number of latents.
    """
    architecture, n_latents = settings["architecture"], settings["n_latents"]
    if architecture not in ARCHITECTURES:
        raise UserError(
            f"architecture: {architecture!r} is unknown; one of {', '.join(ARCHITECTURES)}"
        )
    if settings.get("k", 0) > n_latents:
        raise UserError(f"k: {settings['k']} is larger than n_latents: {n_latents}")
    cls = ARCHITECTURES[architecture].variant(settings)
    chosen = {name: settings[name] for name in cls.hyperparameters if name in settings}
    return cls(d, n_latents, **chosen, generator=generator)
