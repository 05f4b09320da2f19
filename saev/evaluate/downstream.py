"""Downstream kept: what the tower can still do if it sees reconstructions.

A linear probe (multinomial logistic regression) is fitted on the tower's own output for training
images. Then the tower runs on held-out images with other vectors in the stream that the dictionary
sees; what isn't in that stream passes untouched. With the cross entropy L of the probe::

    loss_recovered = (L_zeros − L_reconstruction) / (L_zeros − L_original)

1 is perfect, 0 no better than zeros (Bricken et al. 2023, Towards Monosemanticity, "loss
recovered"). Beside the reconstruction: the original; the reconstruction with its error added back,
which must give the original; zeros; the mean of the recording; and a reconstruction from as many
principal components as latents fire on a vector.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from saev.analyze.baseline import Pca
from saev.analyze.inputs import Inputs
from saev.analyze.ordered import one_thread
from saev.evaluate import softmax
from saev.evaluate.auroc import resampled
from saev.evaluate.classes import Classes
from saev.evaluate.probing import RESAMPLES, measured
from saev.evaluate.results import Figure, Measured, Results, missing
from saev.evaluate.tower_outputs import Rerun, RowChange
from saev.sae import Sae

MOST_TRAINING, MOST_JUDGING = 2048, 512
"""Largest numbers of images that the tower runs over. They bound time."""
ORIGINAL, ZEROS = "original", "zeros"


def reconstruct(sae: Sae, vectors: Tensor) -> Tensor:
    """Reconstructions of raw vectors (m, d) float32, in raw space."""
    found = sae.active(vectors)
    return sae.denormalise(sae.decode_active_normalised(*found, len(vectors))).detach()


def changes_of(inputs: Inputs, pca: Pca, rank: int) -> dict[str, RowChange | None]:
    """What takes the place of the vectors, by name.

    Args:
        pca: principal components in the dictionary's space; rank: how many to keep.
    """
    sae = inputs.sae
    device = sae.W_dec.device
    recorded = torch.from_numpy(inputs.activations.stats(inputs.stream)["mean"])
    mean = recorded.to(device, torch.float32)
    centre, directions = (t.to(device, torch.float32) for t in (pca.mean, pca.directions))
    basis = directions[:, :rank]

    def flat(change: Callable[[Tensor], Tensor]) -> RowChange:
        def use(x: Tensor, images: slice) -> Tensor:
            return change(x.reshape(-1, x.shape[-1]).to(device)).reshape(x.shape).to(x.device)

        return use

    def components(x: Tensor) -> Tensor:
        u = sae.normalise(x) - centre
        return sae.denormalise(u @ basis @ basis.T + centre)

    def with_error(x: Tensor) -> Tensor:
        made = reconstruct(sae, x)
        return made + (x - made)

    return {
        ORIGINAL: None,
        "reconstruction": flat(lambda x: reconstruct(sae, x)),
        "with_error": flat(with_error),
        ZEROS: flat(torch.zeros_like),
        "mean": flat(lambda x: mean.expand_as(x)),
        "pca": flat(components),
    }


class Spliced(NamedTuple):
    """What the tower gives for the images that judge."""

    stream: str
    """The stream that was changed."""
    codes: np.ndarray
    """(h,) int64, the class of each image."""
    outputs: dict[str, Tensor]
    """(h, e) float64, by what took the place of the vectors."""


def spliced_outputs(
    inputs: Inputs, rerun: Rerun, classes: Classes, pca: Pca, l0: float, seed: int
) -> Spliced:
    """Run the tower over held-out images of the classes.

    Args:
        rerun: the tower and the images.
        pca: principal components of the vectors, in the dictionary's space.
        l0: mean number of latents that fire on a vector.
        seed: of the sample of images.
    """
    rows, codes = some(classes.judging, classes.judging_codes, MOST_JUDGING, [seed, 3])
    rank = min(max(1, round(l0)), inputs.sae.d)
    outputs = rerun.outputs(rows, inputs.stream, changes_of(inputs, pca, rank))
    return Spliced(inputs.stream.name, codes, outputs)


def note_of(spliced: Spliced, classes: Classes) -> str:
    """What to know of figures of these outputs."""
    if torch.equal(spliced.outputs[ORIGINAL], spliced.outputs[ZEROS]):
        return f"the tower's output doesn't depend on {spliced.stream}: take an earlier block"
    return classes.note


def measure(
    inputs: Inputs,
    rerun: Callable[[], Rerun],
    spliced: Callable[[], Spliced],
    label: str,
    classes: Classes,
    seed: int,
) -> Results:
    """The figures.

    Args:
        rerun: gives the tower and the images; spliced: gives its outputs.
        label: the label; classes: its classes.
        seed: of the validation split and the resamples.
    """
    if note := classes.lacking(label):
        return Results([missing("downstream", "loss_recovered", "images", note, label)])
    training = some(classes.training, classes.training_codes, MOST_TRAINING, [seed, 2])
    x = rerun().original(training[0], inputs.stream)
    found = spliced()
    outputs, codes = found.outputs, torch.from_numpy(found.codes)
    with one_thread():
        probe = softmax.fit(x, torch.from_numpy(training[1]), len(classes.names), seed)
        losses = {name: probe.losses(output, codes) for name, output in outputs.items()}
        right = {
            name: (probe.logits(output).argmax(1) == codes).numpy().astype(np.float64)
            for name, output in outputs.items()
        }
    drawn = resampled(len(codes), RESAMPLES, seed)
    return Results(figures(losses, right, drawn, label, note_of(found, classes)))


def figures(
    losses: dict[str, np.ndarray],
    right: dict[str, np.ndarray],
    drawn: np.ndarray,
    label: str,
    note: str,
    metric: str = "downstream",
) -> list[Figure]:
    """Figures from the cross entropy (h,) and the success (h,) of each judging image, by change.

    Args:
        drawn: (1 + r, h), see `resampled`.
    """

    def means(values: np.ndarray) -> np.ndarray:
        return np.einsum("rh,h->r", drawn, values) / drawn.sum(1)

    mean_losses = {name: means(values) for name, values in losses.items()}

    def recovered(name: str) -> Measured:
        able = mean_losses[ZEROS] - mean_losses[ORIGINAL]
        kept = mean_losses[ZEROS] - mean_losses[name]
        found = np.divide(kept, able, out=np.full(len(able), np.nan), where=able > 0)
        return measured(found)

    each = {
        "accuracy": {name: measured(means(values)) for name, values in right.items()},
        "cross_entropy": {name: measured(values) for name, values in mean_losses.items()},
        "loss_recovered": {name: recovered(name) for name in losses},
    }
    return [
        Figure(
            metric,
            name,
            found.pop("reconstruction"),
            drawn.shape[1],
            "images",
            found,
            split="held_out",
            note=note,
            of=label,
            why="zeros do no harm, so there is nothing to recover",
        )
        for name, found in each.items()
    ]


def some(
    rows: np.ndarray, codes: np.ndarray, most: int, key: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and classes of at most ``most`` images of a class that isn't left out."""
    known = np.flatnonzero(codes >= 0)
    if len(known) > most:
        known = np.sort(np.random.default_rng(key).choice(known, most, replace=False))
    return rows[known], codes[known]
