"""Which latents belong to a class: those of a parent, and those of each of its children."""

import numpy as np
import torch

from saev.evaluate import logistic
from saev.evaluate.classes import Classes
from saev.evaluate.features import Sparse
from saev.evaluate.hierarchy import Side
from saev.evaluate.probing import FITTED_AT_ONCE, choose, taken

MOST_OWN = 10
"""Largest number of a parent's own latents."""
F1_GAIN = 0.03
TIMES = 2
"""How much more often a latent of a child fires on it than on other children."""


def own_latents(training: Sparse, classes: Classes) -> list[np.ndarray]:
    """The latents of each class: (K,) int64, one at least."""
    n = len(classes.names)
    at_most = min(MOST_OWN, training.n_features)
    chosen = choose(training, classes.training_codes, n, at_most, above=True)
    found = []
    for number in range(n):
        if number % FITTED_AT_ONCE == 0:
            values = taken(training, chosen[number : number + FITTED_AT_ONCE])
        y = classes.training_codes == number
        x = values[number % FITTED_AT_ONCE]
        std = x.std(0)
        x = (x - x.mean(0)) / np.where(std > 0, std, 1)
        best, k = -1.0, 0
        while k < at_most:
            first = torch.from_numpy(x[None, :, : k + 1])
            theta = logistic.fit(first, torch.from_numpy(y)[None])
            f1 = _f1(logistic.margins(first, theta)[0].numpy() > 0, y)
            if k and f1 <= best + F1_GAIN:
                break
            best, k = f1, k + 1
        found.append(chosen[number, :k])
    return found


def _f1(says: np.ndarray, is_so: np.ndarray) -> float:
    """Harmonic mean of precision and recall; 0 if nothing is found."""
    return 2 * float((says & is_so).sum()) / float(says.sum() + is_so.sum())


def of_children(training: Side, parent: int, children: np.ndarray) -> np.ndarray:
    """Which latents fire on a child at least twice as often as on the parent's other images.

    Args:
        parent: number of the parent; children: (c,) its children.

    Returns:
        (c, n) bool. A latent that fires on no other image of the parent is one of the child.
    """
    here = np.flatnonzero(training.codes == parent)
    counts = np.zeros((len(children) + 1, training.z.n_features))
    for images, z in training.z.blocks(here):
        belongs = training.children[images] == children[:, None]
        counts += np.concatenate([belongs, np.ones_like(belongs[:1])]).astype(float) @ (z > 0)
    counts, total = counts[:-1], counts[-1]
    n = (training.children[here] == children[:, None]).sum(1, keepdims=True)
    mine, others = counts / np.maximum(1, n), (total - counts) / np.maximum(1, len(here) - n)
    found: np.ndarray = (mine > 0) & (mine >= TIMES * others)
    return found
