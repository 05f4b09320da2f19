"""Ablation: whether a latent that knows a class also makes the tower say so.

For each class the latent that tells it best from the rest is chosen on training images, as for
sparse probing with k = 1. It is then ablated in held-out images of the class: its share is taken
out of the stream, and the rest passes, with what the dictionary misses. A linear probe of the
tower's output gives the class a logit. The figure is how much that falls on average::

    fall = mean over images of (logit_c(original) − logit_c(ablated))

Beside it: the fall when another latent is ablated that fires on about as many images.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from saev.analyze.inputs import Inputs
from saev.analyze.ordered import one_thread
from saev.evaluate import softmax
from saev.evaluate.auroc import resampled
from saev.evaluate.classes import Classes
from saev.evaluate.downstream import MOST_JUDGING, MOST_TRAINING, ORIGINAL, some
from saev.evaluate.edit import edited
from saev.evaluate.features import latents
from saev.evaluate.probing import RESAMPLES, choose, measured
from saev.evaluate.results import Figure, Measured, Results, missing
from saev.evaluate.tower_outputs import Rerun, RowChange

RANDOM = "latents_of_equal_frequency"
NEAREST = 10
"""Among so many latents of the most similar frequency, one is drawn."""


def of_equal_frequency(chosen: np.ndarray, image_count: np.ndarray, seed: int) -> np.ndarray:
    """For each of ``chosen`` (C,) another latent that fires on about as many images: (C,) int64.

    Args:
        image_count: (n,) int64, on how many images each latent fires.
        seed: of the draw.
    """
    found = []
    for number, latent in enumerate(chosen.tolist()):
        apart = np.abs(image_count - image_count[latent]).astype(np.float64)
        apart[latent] = np.inf
        nearest = np.argsort(apart, kind="stable")[: min(NEAREST, len(image_count) - 1)]
        found.append(int(np.random.default_rng([seed, number]).choice(nearest)))
    return np.array(found, np.int64)


def ablating(inputs: Inputs, latent: np.ndarray) -> RowChange:
    """A change that ablates one latent in each image.

    Args:
        latent: (b,) int64, which, for each of the images in their order.
    """

    def change(x: Tensor, images: slice) -> Tensor:
        changed = x.clone()
        for slot, one in enumerate(latent[images].tolist()):
            vectors = x[slot].to(inputs.sae.W_dec.device)
            changed[slot] = edited(inputs.sae, vectors, {one: 0.0}, "scale").to(x.device)
        return changed

    return change


def measure(
    inputs: Inputs,
    rerun: Rerun,
    label: str,
    classes: Classes,
    image_count: np.ndarray,
    seed: int,
    scratch: Path,
) -> Results:
    """The figure.

    Args:
        rerun: the tower and the images; label: the label; classes: its classes.
        image_count: (n,) int64, on how many images each latent fires.
        seed: of all that is drawn.
        scratch: an existing folder for what doesn't fit into memory.
    """
    alone = "there is one latent, and no other to compare it with" * (inputs.sae.n_latents < 2)
    if note := classes.lacking(label) or alone:
        return Results([missing("ablation", "logit_fall", "images", note, label)])
    with one_thread():
        features = latents(inputs, inputs.sae, classes.training, scratch)
        chosen = choose(features, classes.training_codes, len(classes.names), 1)[:, 0]
    others = of_equal_frequency(chosen, image_count, seed)
    training = some(classes.training, classes.training_codes, MOST_TRAINING, [seed, 2])
    judging = some(classes.judging, classes.judging_codes, MOST_JUDGING, [seed, 3])
    codes = judging[1]
    x = rerun.original(training[0], inputs.stream)
    changes: dict[str, RowChange | None] = {
        ORIGINAL: None,
        "ablated": ablating(inputs, chosen[codes]),
        RANDOM: ablating(inputs, others[codes]),
    }
    outputs = rerun.outputs(judging[0], inputs.stream, changes)
    with one_thread():
        probe = softmax.fit(x, torch.from_numpy(training[1]), len(classes.names), seed)
        logits = {
            name: probe.logits(output).numpy()[np.arange(len(codes)), codes]
            for name, output in outputs.items()
        }
    drawn = resampled(len(codes), RESAMPLES, seed)

    def fall(name: str) -> Measured:
        each = logits[ORIGINAL] - logits[name]
        return measured(np.einsum("rh,h->r", drawn, each) / drawn.sum(1))

    note = classes.note
    if all(torch.equal(outputs[ORIGINAL], output) for output in outputs.values()):
        note = (
            f"nothing changed: the tower's output doesn't depend on {inputs.stream.name}, or the "
            f"latents are silent on these images"
        )
    figure = Figure(
        "ablation",
        "logit_fall",
        fall("ablated"),
        len(codes),
        "images",
        {RANDOM: fall(RANDOM)},
        split="held_out",
        note=note,
        of=label,
    )
    return Results([figure])
