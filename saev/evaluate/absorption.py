"""Absorption: whether a latent of a child class says what the latent of its parent should say.

Labels form a hierarchy: every class of one label, such as a species, lies under one class of
another, such as a genus. A dictionary is sparser if the latent of a common species also writes what
tells its genus, and the latent of the genus keeps silent there (Chanin et al. 2024, A is for
absorption, arXiv 2409.14507, section 4). So a latent that seems to say "genus" has holes.

An image counts with the mean u of its vectors in the dictionary's space, and with the means z of
its latents. With a linear probe of the parents, whose logits are centred over classes, p is the
direction that raises the logit of the image's parent, and latent j adds z_j ⟨w_j, p⟩ to it. An
image is *absorbed* if

- the probe says its parent;
- none of the parent's own latents fires on it: the K whose mean over the parent is most above that
  over the rest, where each of them made the F1 of a probe more than 0.03 larger (K is 1 at least);
- the latent that adds most to the logit has a cosine to p of 0.025 or more (both thresholds are
  theirs), and fires on training images of the image's child at least twice as often as on others of
  the parent.

The paper has words instead of images, and asks that this latent adds one unit of the model's logit
more than any other. That has no counterpart here; instead it has to be a latent of the child.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from saev.analyze.inputs import Inputs
from saev.analyze.ordered import one_thread
from saev.core.progress import Progress
from saev.evaluate import softmax
from saev.evaluate.class_latents import of_children, own_latents
from saev.evaluate.classes import Classes, codes_of
from saev.evaluate.downstream import MOST_TRAINING, some
from saev.evaluate.features import averages, latents, mean_of_patches
from saev.evaluate.hierarchy import Hierarchy, Side, both_sides, shuffled
from saev.evaluate.results import Figure, Results, mean_of, missing
from saev.evaluate.untrained import UNTRAINED, untrained
from saev.sae import Sae
from saev.settings.evaluation import HierarchySettings

SHUFFLED = "shuffled_children"
LEAST_COSINE = 0.025


def absorbers(
    z: Any,
    own: np.ndarray,
    effect: np.ndarray,
    cosine: np.ndarray,
    child: np.ndarray,
    tells: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Which images the parent's latents miss, and which latent absorbs each.

    Args:
        z: (b, n) sparse by row, latents of images of which the probe says the parent.
        own: (K,) int64, the parent's latents.
        effect, cosine: (n,) ⟨w_j, p⟩, and the cosine.
        child: (b,) int64, the child of each image; tells: (c, n) bool, the latents of each child.

    Returns:
        (b,) bool; and (b,) int64, −1 for an image that isn't absorbed.
    """
    silent = np.asarray((z[:, own] > 0).sum(1)).reshape(-1) == 0
    found = np.full(z.shape[0], -1)
    for image in np.flatnonzero(silent):
        row = z[[image]]
        if not row.nnz:
            continue
        latent = int(row.indices[np.argmax(row.data * effect[row.indices])])
        if cosine[latent] >= LEAST_COSINE and tells[child[image], latent]:
            found[image] = latent
    return silent, found


class Shares(NamedTuple):
    """By parent, shares of the judging images that the probe gets right."""

    silent: np.ndarray
    """(C,) float64, on which none of the parent's latents fires; NaN without such images."""
    absorbed: np.ndarray
    """(C,) float64, which are absorbed."""


def shares(
    sae: Sae, classes: Classes, probe: softmax.Probe, said: np.ndarray, sides: tuple[Side, Side]
) -> Shares:
    """The shares of each parent.

    Args:
        probe: of the parents; said: (h,) int64, what it says of the judging images.
        sides: the training and the judging images.
    """
    training, judging = sides
    decoder = sae.dictionary().detach().double().cpu().numpy()
    length = np.linalg.norm(decoder, axis=1)
    weights = (probe.weights[:-1] / probe.std[:, None]).numpy()
    directions = weights - weights.mean(1, keepdims=True)
    own = own_latents(training.z, classes)
    found = np.full((2, len(classes.names)), np.nan)
    for parent in range(len(classes.names)):
        mine = training.codes == parent
        children = np.unique(training.children[mine & (training.children >= 0)])
        judged = (judging.codes == parent) & (said == parent) & np.isin(judging.children, children)
        if len(children) < 2 or not judged.any():
            continue
        p = directions[:, parent]
        effect = decoder @ p
        tells = of_children(training, parent, children)
        child = np.searchsorted(children, judging.children[judged])
        cosine = effect / np.maximum(length * np.linalg.norm(p), np.finfo(float).tiny)
        at = np.flatnonzero(judged)
        parts = [
            absorbers(z, own[parent], effect, cosine, child[np.searchsorted(at, images)], tells)
            for images, z in judging.z.blocks(at)
        ]
        silent, latent = (np.concatenate(part) for part in zip(*parts, strict=True))
        found[:, parent] = silent.mean(), (latent >= 0).mean()
    return Shares(*found)


def measure(
    inputs: Inputs,
    named: HierarchySettings,
    classes: Classes,
    l0: float,
    seed: int,
    scratch: Path,
) -> Results:
    """The figures.

    Args:
        named: the labels; classes: those of the parent.
        l0: mean number of latents that fire on a vector.
        seed: of the probe, the untrained dictionary and the intervals.
        scratch: an existing folder for what doesn't fit into memory.
    """
    if note := classes.lacking(named.parent):
        return Results([missing("absorption", "rate", "classes", note, _of(named))])
    codes, _ = codes_of(inputs, named.child)
    children = Hierarchy(codes[classes.training], codes[classes.judging])
    with one_thread():
        progress = Progress(2, "dictionaries", f"absorption {named.child}")
        fitted = some(classes.training, classes.training_codes, MOST_TRAINING, [seed, 2])
        means = torch.from_numpy(averages(inputs, fitted[0])).double()
        probe = softmax.fit(means, torch.from_numpy(fitted[1]), len(classes.names), seed)
        judged = torch.from_numpy(averages(inputs, classes.judging))
        said = probe.logits(judged).argmax(1).numpy()
        found = {}
        for name, sae in (("ours", inputs.sae), (UNTRAINED, untrained(inputs.sae, l0, seed))):
            z = [
                latents(inputs, sae, rows, scratch, mean_of_patches)
                for rows in (classes.training, classes.judging)
            ]
            sides = both_sides(classes, children, z)
            found[name] = shares(sae, classes, probe, said, sides)
            if name == "ours":
                mixed = shuffled(children, classes, seed)
                found[SHUFFLED] = shares(sae, classes, probe, said, both_sides(classes, mixed, z))
            progress.update(1)
    return results(found, named, classes.note, seed)


def results(found: dict[str, Shares], named: HierarchySettings, note: str, seed: int) -> Results:
    """The figures of our dictionary, beside the others."""
    ours = found.pop("ours")
    known = int((~np.isnan(ours.absorbed)).sum())
    if not known:
        note = f"no class of {named.parent} has two classes of {named.child} with enough images"
        return Results([missing("absorption", "rate", "classes", note, _of(named))])
    figures = []
    for name, of in (("rate", "absorbed"), ("silent", "silent")):
        beside = {other: mean_of(getattr(one, of), seed) for other, one in found.items()}
        if name == "silent":
            del beside[SHUFFLED]  # children play no part in it
        mean = mean_of(getattr(ours, of), seed)
        figures.append(
            Figure(
                *("absorption", name, mean, known, "classes", beside),
                split="held_out",
                note=note,
                of=_of(named),
            )
        )
    return Results(figures)


def _of(named: HierarchySettings) -> str:
    return f"{named.child} under {named.parent}"
