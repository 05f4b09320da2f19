"""The architectures by name."""

from collections.abc import Callable

import torch

from saev.sae.archetypal import Archetypal
from saev.sae.base import Sae
from saev.sae.batchtopk import BatchTopK
from saev.sae.converted import Converted
from saev.sae.jumprelu import JumpRelu
from saev.sae.matryoshka import matryoshka
from saev.sae.relu import Relu
from saev.sae.topk import TopK
from saev.settings.sae_base import SaeSettings

ARCHITECTURES: dict[str, Callable[..., Sae]] = {
    "topk": TopK,
    "batchtopk": BatchTopK,
    "matryoshka": matryoshka,
    "archetypal": Archetypal,
    "jumprelu": JumpRelu,
    "relu": Relu,
}
"""Makes a dictionary from its settings, its width and a generator."""
NOT_TRAINED: dict[str, Callable[..., Sae]] = {"converted": Converted}
"""Those that only a conversion makes."""


def build(settings: SaeSettings, d: int, generator: torch.Generator | None = None) -> Sae:
    """Make an untrained dictionary.

    Args:
        settings: those of the architecture.
        d: width of the activations.
        generator: draws the initial weights; a fixed one if None (for loading).
    """
    return (ARCHITECTURES | NOT_TRAINED)[settings.architecture](settings, d, generator)
