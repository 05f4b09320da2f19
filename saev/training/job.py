"""What a training is of: its settings, checked, and its data, split and opened."""

import json
from typing import Any, NamedTuple

import numpy as np
from pydantic import TypeAdapter, ValidationError

from saev.artifacts.activations import Activations, Stream
from saev.errors import UserError, listed
from saev.sae.base import EVEN
from saev.settings.sae import AnySaeSettings
from saev.training import data

EVAL_VECTORS = 16_384
"""Held-out vectors at most in an evaluation (``eval_n`` says how many)."""


class Job(NamedTuple):
    """What is trained, and on what."""

    settings: AnySaeSettings
    stream: Stream
    mean: np.ndarray
    """(d,) float64, recorded mean of the activations."""
    split: data.Split
    vectors: data.Vectors
    held_out: np.ndarray | None
    """(h, d) float32, those that evaluations look at; None if no image is held out."""
    n_held_out: int
    """Vectors of all held-out images."""
    n_steps: int


def read_settings(values: dict[str, Any]) -> AnySaeSettings:
    """Check the settings of the stage.

    Raises:
        UserError: names each key that is wrong.
    """
    try:
        return TypeAdapter(AnySaeSettings).validate_json(json.dumps(values))
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise UserError(listed(problems, "the settings of this dictionary are wrong:")) from None


def prepare(
    settings: AnySaeSettings, activations: Activations, data_in_memory: str = "auto"
) -> Job:
    """Split the images and open the vectors.

    Raises:
        UserError: the stream wasn't recorded, no image is left for training, or memory is too small.
    """
    stream = activations.stream(settings.layer, settings.tokens)
    split = data.split_images(activations, settings.held_out, settings.seed)
    if not len(split.training):
        raise UserError(
            f"held_out: {settings.held_out} leaves none of the {activations.n_rows} images of "
            f"{activations.path} for training: lower it, or add pictures"
        )
    vectors = data.load(activations, stream, split.training, data_in_memory, settings.processes)
    n_held_out = len(split.held_out) * stream.n_patches
    chosen = data.sample(n_held_out, EVAL_VECTORS, [settings.seed, 0, 2])
    held_out = (
        data.Streamed(activations, stream, split.held_out).gather(chosen) if n_held_out else None
    )
    n_steps = max(1, round(settings.epochs * vectors.n / settings.batch_size))
    mean = activations.stats(stream)["mean"]
    return Job(settings, stream, mean, split, vectors, held_out, n_held_out, n_steps)


def even_widths(job: Job) -> bool:
    """Whether products have the same bits for any number of threads.

    Others are split over threads in ways that change the rounding (see `EVEN`). Those of towers and
    dictionaries usually have; trainings of others get one thread.
    """
    settings = job.settings
    widths = (job.stream.d, settings.n_latents, getattr(settings, "n_points", EVEN))
    rows = [settings.batch_size // settings.processes, job.vectors.n]
    rows += [] if job.held_out is None else [len(job.held_out)]
    return all(n % EVEN == 0 for n in widths) and all(n >= EVEN for n in rows)
