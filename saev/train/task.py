"""What a training works on: checked settings, split images, opened vectors."""

from typing import NamedTuple

import numpy as np

from saev.activations.artifact import Activations, Stream
from saev.core.errors import UserError
from saev.sae.base import EVEN
from saev.settings.sae_base import SaeSettings
from saev.train import loader
from saev.train.shuffled import HELD_OUT, ShuffledVectors, permute
from saev.train.split import Split, split_images

EVAL_VECTORS = 16_384
"""Largest number of held-out vectors in an evaluation (``eval_n`` says how many)."""


class Task(NamedTuple):
    """What to train, and on what."""

    settings: SaeSettings
    stream: Stream
    mean: np.ndarray
    """(d,) float64, recorded mean of the activations."""
    std: np.ndarray
    """(d,) float64, recorded standard deviation."""
    split: Split
    vectors: loader.Vectors
    held_out: np.ndarray | None
    """(h, d) float32, the held-out vectors that evaluations use; None if no image is held out."""
    n_held_out: int
    """How many vectors all held-out images have."""
    n_steps: int


def prepare(
    settings: SaeSettings,
    activations: Activations,
    data_in_memory: str = "auto",
    groups: str | None = None,
    mem_mb: int | None = None,
) -> Task:
    """Split the images and open the vectors.

    Args:
        settings, activations: what to train, and on what.
        data_in_memory, mem_mb: see `loader.load`; groups: see `split_images`.

    Raises:
        UserError: the stream wasn't recorded, no image is left for training, a batch is larger than
            the data, or memory is too small.
    """
    stream = activations.stream(settings.layer, settings.tokens)
    split = split_images(activations, settings.held_out, settings.seed, groups)
    if not len(split.training):
        raise UserError(
            f"held_out: {settings.held_out} leaves none of the {activations.n_rows} images of "
            f"{activations.path} for training: lower it, or add images"
        )
    vectors = loader.load(
        activations, stream, split.training, data_in_memory, settings.processes, mem_mb
    )
    if settings.shuffled_dimensions:
        vectors = ShuffledVectors(vectors, settings.seed)
    if settings.batch_size > vectors.n:
        raise UserError(
            f"batch_size: {settings.batch_size:,} is more than the {vectors.n:,} training vectors "
            f"of {stream.name} in {activations.path}: lower it, or add images"
        )
    n_held_out = len(split.held_out) * stream.n_patches
    chosen = loader.sample(n_held_out, EVAL_VECTORS, [settings.seed, 0, 2])
    held_out = (
        loader.Streamed(activations, stream, split.held_out).gather(chosen) if n_held_out else None
    )
    if settings.shuffled_dimensions and held_out is not None:
        permute(held_out, settings.seed, HELD_OUT)
    n_steps = max(1, round(settings.epochs * vectors.n / settings.batch_size))
    mean, std = (activations.stats(stream)[name] for name in ("mean", "std"))
    return Task(settings, stream, mean, std, split, vectors, held_out, n_held_out, n_steps)


def even_widths(task: Task) -> bool:
    """Whether the bits of products are the same for any number of threads.

    This depends on the widths (see `EVEN`). Those of towers and dictionaries usually qualify. With
    other widths, a training gets only one thread.
    """
    settings = task.settings
    widths = [task.stream.d, *(getattr(settings, name) for name in settings.product_widths)]
    rows = [settings.batch_size // settings.processes, task.vectors.n]
    rows += [] if task.held_out is None else [len(task.held_out)]
    return all(n % EVEN == 0 for n in widths) and all(n >= EVEN for n in rows)
