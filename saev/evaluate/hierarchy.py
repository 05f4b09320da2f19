"""Two labels, of which one lies under the other, such as species under genus."""

from typing import NamedTuple

import numpy as np

from saev.analyze.inputs import Inputs
from saev.core.errors import UserError
from saev.evaluate.classes import Classes, codes_of
from saev.evaluate.features import Sparse
from saev.settings.evaluation import HierarchySettings


class Hierarchy(NamedTuple):
    """The children of the images that probes are fitted on, and of those that judge."""

    training: np.ndarray
    """(t,) int64, the child of each image; −1 for none."""
    judging: np.ndarray
    """(h,) int64."""


class Side(NamedTuple):
    """Images of one side of the split."""

    codes: np.ndarray
    """(b,) int64, the parent of each; −1 for one that is left out."""
    children: np.ndarray
    """(b,) int64, the child of each; −1 for none."""
    z: Sparse
    """(b, n), the means of its latents."""


def require_hierarchy(inputs: Inputs, named: HierarchySettings) -> None:
    """Check that every child lies under one parent.

    Raises:
        UserError: one doesn't.
    """
    (parents, parent_texts), (children, child_texts) = (
        codes_of(inputs, label) for label in (named.parent, named.child)
    )
    both = (parents >= 0) & (children >= 0)
    pairs = np.unique(np.stack([children[both], parents[both]]), axis=1)
    twice = np.flatnonzero(np.diff(pairs[0]) == 0)
    if len(twice):
        child, (one, two) = pairs[0, twice[0]], pairs[1, twice[0] : twice[0] + 2]
        raise UserError(
            f"absorption: {child_texts[child]!r} of {named.child} lies under {parent_texts[one]!r} "
            f"and {parent_texts[two]!r} of {named.parent}, so these labels are no hierarchy: each "
            f"class of child needs one parent. Correct the labels, or swap parent and child"
        )


def both_sides(classes: Classes, children: Hierarchy, z: list[Sparse]) -> tuple[Side, Side]:
    """The training and the judging images, with their latents ``z`` of each."""
    codes = (classes.training_codes, classes.judging_codes)
    training, judging = (Side(*one) for one in zip(codes, children, z, strict=True))
    return training, judging


def shuffled(children: Hierarchy, classes: Classes, seed: int) -> Hierarchy:
    """Children shuffled among the training images of their parent."""
    mixed = children.training.copy()
    for parent in range(len(classes.names)):
        here = np.flatnonzero(classes.training_codes == parent)
        rng = np.random.default_rng([seed, parent])
        mixed[here] = children.training[rng.permutation(here)]
    return Hierarchy(mixed, children.judging)
