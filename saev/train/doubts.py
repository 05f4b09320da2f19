"""Reasons to distrust a dictionary: a dominant dimension, few steps, another sparsity than set."""

from typing import Any

import numpy as np

from saev.settings.sae_base import SaeSettings, SelectingSettings

FEW_STEPS = 100
"""Adam's second moments average over 1,000 steps, and a weight moves by about ``lr`` in one."""
FEW_EXAMPLES = 10
"""Training examples per latent; the demo's dictionaries see 245 (`cls`) or more."""
L0_OFF = 0.1


DOMINANT = 0.5
"""Share of the variance in one dimension above which the error says little about the others."""


def before(settings: SaeSettings, n_steps: int, std: np.ndarray) -> list[str]:
    """The doubts that are known before the first step.

    Args:
        settings: those of the dictionary.
        n_steps: steps of the whole training.
        std: (d,) float64, standard deviation of each dimension of the activations.
    """
    found = []
    share = std**2 / max(float((std**2).sum()), np.finfo(np.float64).tiny)
    if settings.normalisation != "per_dimension" and share.max() > DOMINANT:
        found.append(
            f"dimension {share.argmax()} holds {share.max():.0%} of the variance: train with "
            f"normalisation: per_dimension"
        )
    if n_steps < FEW_STEPS:
        steps = "1 step" if n_steps == 1 else f"{n_steps} steps"
        found.append(f"the training has only {steps}: raise epochs, or lower batch_size")
    per_latent = n_steps * settings.batch_size / settings.n_latents
    if per_latent < FEW_EXAMPLES:
        found.append(
            f"there are only {per_latent:.2g} training examples per latent: raise epochs, or lower "
            f"n_latents"
        )
    return found


def after(settings: SaeSettings, n_steps: int, std: np.ndarray, last: dict[str, Any]) -> list[str]:
    """The doubts that are known after the last step.

    Args:
        settings: those of the dictionary.
        n_steps: steps that were taken.
        std: (d,) float64, standard deviation of each dimension of the activations.
        last: the last line of the curve.
    """
    found = before(settings, n_steps, std)
    name = "eval_l0" if last.get("eval_l0") is not None else "l0"
    l0 = last[name]
    if isinstance(settings, SelectingSettings) and abs(l0 / settings.k - 1) > L0_OFF:
        where = "held-out" if name == "eval_l0" else "training"
        found.append(
            f"{l0:.1f} latents are active per vector on {where} images, but k is {settings.k}: "
            f"compare by the measured L0"
        )
    return found
