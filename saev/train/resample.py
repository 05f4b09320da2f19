"""Re-initialises dead latents from examples that are poorly reconstructed.

Bricken et al. 2023, "Towards Monosemanticity: Decomposing Language Models With Dictionary
Learning", Transformer Circuits, appendix "Neuron Resampling". Two things differ: ``dead_after``
decides which latents are dead, and examples are drawn from `EXAMPLES` training vectors.
"""

import numpy as np
import torch

from saev.sae.base import unit_rows
from saev.train.loader import Vectors, sample
from saev.train.trainer import EVAL_CHUNK, Trainer

EXAMPLES = 32_768
"""How many training vectors to compute the loss of (more if more latents are dead)."""


def is_due(trainer: Trainer) -> bool:
    """Whether the last step crossed a multiple of ``resample_every`` training vectors."""
    settings, step = trainer.settings, trainer.step
    every = settings.resample_every
    if every is None or step == 0 or step > settings.resample_until * trainer.n_steps:
        return False
    size = settings.batch_size
    return step * size // every > (step - 1) * size // every


def resample_if_due(trainer: Trainer, vectors: Vectors) -> None:
    """Resample dead latents if it is time.

    Call this before each step: then a state saved after a step determines everything that follows.
    """
    if is_due(trainer):
        resample(trainer, vectors)


@torch.no_grad()
def resample(trainer: Trainer, vectors: Vectors) -> int:
    """Re-initialise the dead latents.

    This depends only on the trainer's state, its step and the seed.

    Each example is used once, as two latents with the same weights would stay equal for ever. If
    there are fewer examples with a loss than dead latents, the last dead latents stay as they are.

    Args:
        trainer: its weights, its moments of Adam and its counts of silence are changed in place.
        vectors: the training vectors.

    Returns:
        how many latents were re-initialised.
    """
    sae, dead = trainer.sae, trainer.dead()
    latents = trainer.processes.indices(dead)
    if not len(latents):
        return 0
    rng = np.random.default_rng([trainer.settings.seed, trainer.step, 4])
    pool = _pool(vectors, max(EXAMPLES, len(latents)), rng)
    losses = squared_errors(trainer, vectors, pool)
    total = losses.sum()
    if not (np.isfinite(total) and total > 0):
        return 0  # the next check reports weights that aren't finite
    size = min(len(latents), int(np.count_nonzero(losses)))
    chosen = pool[rng.choice(len(pool), size, replace=False, p=losses / total)]
    x = torch.from_numpy(vectors.gather(chosen)).to(trainer.device)
    directions = unit_rows(sae.normalise(x) - sae.b_dec)
    latents, directions = trainer.processes.own(latents[:size], directions)
    sae.restart(latents, directions, ~dead)
    for name, axis in sae.latent_axis.items():
        for moment in trainer.adam.moments[name]:
            moment.index_fill_(axis, latents, 0)
    trainer.silent[latents] = 0
    still = trainer.dead_now.clone()
    still[latents] = False
    trainer.take_for_dead(still)
    trainer.resampled += size
    return size


def squared_errors(trainer: Trainer, vectors: Vectors, chosen: np.ndarray) -> np.ndarray:
    """‖u − û‖² of the vectors ``chosen`` (m,) with the current weights: (m,) float64.

    It is 0 where u equals ``b_dec``, as there is no direction.
    """
    sae, found = trainer.sae.eval(), []
    for part in np.array_split(chosen, -(-len(chosen) // EVAL_CHUNK)):
        x = torch.from_numpy(vectors.gather(part))
        u = sae.normalise(x.to(trainer.device))
        error = sae.loss(u, trainer.step, None).residual.square().sum(dim=1)
        found.append(torch.where((u != sae.b_dec).any(dim=1), error, 0).double().cpu().numpy())
    sae.train()
    return np.concatenate(found)


def _pool(vectors: Vectors, at_most: int, rng: np.random.Generator) -> np.ndarray:
    """Draw distinct vectors, ascending: `sample` with a key that ``rng`` draws."""
    return sample(vectors.n, at_most, [int(rng.integers(2**32))])
