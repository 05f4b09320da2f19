"""The learning rate. It depends only on the step, so a resumed training needs nothing else."""

import math

from saev.settings.sae_base import SaeSettings


def learning_rate(settings: SaeSettings, step: int, n_steps: int) -> float:
    """The rate of the step that follows ``step`` steps.

    It rises linearly to ``lr`` in ``warmup_steps``. It stays there until the warm-up and a share
    ``decay_from`` of the planned steps are over. Then it falls towards ``lr_end · lr``, along a
    line or half a cosine (Loshchilov and Hutter 2017, arXiv 1608.03983). It would reach that value
    in the step after the last one, so no step has a rate of 0.

    Args:
        settings: ``lr``, ``warmup_steps``, ``schedule``, ``decay_from``, ``lr_end``.
        step: steps done, from 0.
        n_steps: planned steps of the whole training.
    """
    warm = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
    return settings.lr * warm * _decay(settings, step, n_steps)


def _decay(settings: SaeSettings, step: int, n_steps: int) -> float:
    start = max(float(settings.warmup_steps), settings.decay_from * n_steps)
    if settings.schedule == "constant" or step <= start:
        return 1.0
    done = min(1.0, (step - start) / max(1.0, n_steps - start))
    left = 1 - done if settings.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
    return settings.lr_end + (1 - settings.lr_end) * left
