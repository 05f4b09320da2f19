"""Sparse probing: how much of a class k latents know.

For each class one against the rest, k ∈ {1, 2, 5} (Gurnee et al. 2023, Finding neurons in a
haystack, section 3): the k features with the largest ``|mean over the class − mean over the rest|``
are chosen on training images, a logistic regression is fitted on them, and held-out images judge it
by AUROC and accuracy. The run has the means over classes. Intervals resample the judging images.

Beside it, the same with other features: an untrained dictionary as wide and as sparse, the raw
dimensions and the principal components of the vectors (each divided by its standard deviation
before the choice), and a constant.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from saev.analyze.baseline import Pca
from saev.analyze.inputs import Inputs
from saev.analyze.ordered import one_thread
from saev.core.progress import Progress
from saev.evaluate import logistic
from saev.evaluate.auroc import auroc, resampled
from saev.evaluate.classes import Classes
from saev.evaluate.features import (
    CLASSES_AT_ONCE,
    Features,
    components,
    dimensions,
    latents,
)
from saev.evaluate.results import Figure, Measured, Results, missing, percentiles
from saev.evaluate.untrained import UNTRAINED, untrained

CHOSEN = (1, 2, 5)
"""Numbers of features, k."""
RESAMPLES = 200
FITTED_AT_ONCE = 8
"""Classes whose chosen features are in memory at once."""


class Sides(NamedTuple):
    """The same features of the images that probes are fitted on, and of those that judge."""

    training: Features
    judging: Features


class Judged(NamedTuple):
    """Means over classes, of all judging images (first) and of each resample of them."""

    auroc: np.ndarray
    """(1 + r,) float64."""
    accuracy: np.ndarray
    """(1 + r,) float64."""


def choose(
    training: Features, codes: np.ndarray, n_classes: int, k: int, above: bool = False
) -> np.ndarray:
    """For each class the k features with the largest difference of means: (C, k) int64.

    Largest first; of equal ones the lower number comes first.

    Args:
        codes: (t,) int64, the class of each image; −1 for none of the C classes.
        above: whether the mean over the class has to be the larger one.
    """
    total = training.sums(np.ones((len(codes), 1), bool))
    found = []
    for start in range(0, n_classes, CLASSES_AT_ONCE):
        members = codes[:, None] == np.arange(start, min(start + CLASSES_AT_ONCE, n_classes))
        sums, n = training.sums(members), members.sum(0)
        apart = sums / n - (total - sums) / (len(codes) - n)
        apart = apart if above else np.abs(apart)
        found.append(np.argsort(-apart, axis=0, kind="stable")[:k].T)
    return np.concatenate(found)


def judge(
    sides: Sides, classes: Classes, chosen: np.ndarray, drawn: np.ndarray
) -> dict[int, Judged]:
    """Fit on the first k of ``chosen`` and judge, for each k of `CHOSEN`.

    Args:
        chosen: (C, max k) features of each class; drawn: (1 + r, h), see `resampled`.
    """
    areas, rights, n_defined = np.zeros((3, len(CHOSEN), len(drawn)))
    n_classes = len(classes.names)
    for start in range(0, n_classes, FITTED_AT_ONCE):
        numbers = np.arange(start, min(start + FITTED_AT_ONCE, n_classes))
        training, judging = (taken(side, chosen[numbers]) for side in sides)
        for place, k in enumerate(CHOSEN):
            fitted = _fit(training[..., :k], judging[..., :k], classes, numbers)
            for number, score in zip(numbers, fitted, strict=True):
                positive = classes.judging_codes == number
                area = auroc(score, positive, drawn)
                defined = ~np.isnan(area)
                areas[place, defined] += area[defined]
                n_defined[place] += defined
                rights[place] += _shares(drawn, (score > 0) == positive)
    found = zip(CHOSEN, areas / n_defined, rights / n_classes, strict=True)
    return {k: Judged(area, right) for k, area, right in found}


def taken(side: Features, chosen: np.ndarray) -> np.ndarray:
    """Values of the features ``chosen`` (c, k) of each class: (c, b, k) float64."""
    values = side.take(chosen.reshape(-1))
    return values.reshape(len(values), *chosen.shape).swapaxes(0, 1)


def _fit(
    training: np.ndarray, judging: np.ndarray, classes: Classes, numbers: np.ndarray
) -> np.ndarray:
    """Margins of the judging images: (c, h) float64.

    Args:
        training, judging: (c, t, k) and (c, h, k), features of the classes ``numbers`` (c,).
    """
    mean, std = training.mean(1, keepdims=True), training.std(1, keepdims=True)
    x, judged = ((side - mean) / np.where(std > 0, std, 1) for side in (training, judging))
    y = classes.training_codes == numbers[:, None]
    theta = logistic.fit(torch.from_numpy(x), torch.from_numpy(y))
    return logistic.margins(torch.from_numpy(judged), theta).numpy()


def _shares(drawn: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Share of the drawn images (1 + r, h) that are ``right`` (h,): (1 + r,)."""
    counted: np.ndarray = drawn @ right.astype(np.int64)
    return counted / drawn.sum(1)


def constant(classes: Classes, drawn: np.ndarray) -> Judged:
    """A probe that always says what most training images of a class say."""
    rights = np.zeros(len(drawn))
    for number in range(len(classes.names)):
        says = (classes.training_codes == number).mean() > 0.5
        rights += _shares(drawn, (classes.judging_codes == number) == says)
    return Judged(np.full(len(drawn), 0.5), rights / len(classes.names))


def measured(figures: np.ndarray) -> Measured:
    """The figure of all images (first), and its interval over resamples (the rest)."""
    if np.isnan(figures[0]):
        return Measured(None)
    known = figures[1:][~np.isnan(figures[1:])]
    return Measured(float(figures[0]), *percentiles(known)) if len(known) else Measured(None)


def measure(
    inputs: Inputs, label: str, classes: Classes, pca: Pca, l0: float, seed: int, scratch: Path
) -> Results:
    """The figures.

    Args:
        label: the label; classes: its classes.
        pca: principal components of the vectors, in the dictionary's space.
        l0: mean number of latents that fire on a vector.
        seed: of the resamples and the untrained dictionary.
        scratch: an existing folder for what doesn't fit into memory.
    """
    if note := classes.lacking(label):
        return Results([missing("probing", "auroc_1", "classes", note, label)])
    drawn = resampled(len(classes.judging), RESAMPLES, seed)
    k = max(CHOSEN)
    found: dict[str, dict[int, Judged]] = {}
    with one_thread():
        progress = Progress(4, "kinds of features", f"probing {label}")
        for name in ("latents", UNTRAINED, "raw_dimensions", "pca"):
            sides = _sides(name, inputs, classes, pca, l0, seed, scratch)
            chosen = choose(sides.training, classes.training_codes, len(classes.names), k)
            found[name] = judge(sides, classes, chosen, drawn)
            progress.update(1)
    found["constant"] = dict.fromkeys(CHOSEN, constant(classes, drawn))
    ours = found.pop("latents")
    figures = [
        Figure(
            "probing",
            f"{of}_{k}",
            measured(getattr(ours[k], of)),
            len(classes.names),
            "classes",
            {name: measured(getattr(each[k], of)) for name, each in found.items()},
            split="held_out",
            note=classes.note,
            of=label,
        )
        for of in Judged._fields
        for k in CHOSEN
    ]
    return Results(figures)


def _sides(
    name: str, inputs: Inputs, classes: Classes, pca: Pca, l0: float, seed: int, scratch: Path
) -> Sides:
    """The features called ``name``."""
    rows = (classes.training, classes.judging)
    if name in ("latents", UNTRAINED):
        sae = inputs.sae if name == "latents" else untrained(inputs.sae, l0, seed)
        return Sides(*(latents(inputs, sae, side, scratch) for side in rows))
    if name == "pca":
        training, judging = (components(inputs, pca, side, scratch) for side in rows)
    else:
        training, judging = (dimensions(inputs, side, scratch) for side in rows)
    std = training.std()
    training.scale = judging.scale = np.where(std > 0, std, 1)
    return Sides(training, judging)
