"""Splits images into those to train on and those held out, image by image or group by group."""

from typing import NamedTuple

import numpy as np

from saev.activations.artifact import Activations
from saev.core import logs
from saev.core.errors import UserError
from saev.core.files import sha256_file
from saev.core.plan_file import PLANS, groups_name

PURPOSE = 3
"""Second number of the seed for the order of groups."""


class Split(NamedTuple):
    """Row ids of images, ascending."""

    training: np.ndarray
    """(m,) int64."""
    held_out: np.ndarray
    """(h,) int64; training never reads them."""
    groups: str | None = None
    """SHA-256 of the groups that were kept together; None if images were split one by one."""
    n_groups: int | None = None
    n_held_out_groups: int | None = None


def split_images(
    activations: Activations, fraction: float, seed: int, groups: str | None = None
) -> Split:
    """Split the recorded images. Copies and near-copies stay on the same side.

    Args:
        activations: the recording.
        fraction: share of the images to hold out, 0 to 1. With groups, as near as they allow.
        seed: the seed of the split.
        groups: SHA-256 of the groups that the plan found, all images of which stay on one side.

    Raises:
        UserError: the groups are missing or were altered, or there are fewer than two.
    """
    rows = activations.rows(0, activations.n_images)
    if groups is None:
        mask = activations.held_out(rows, fraction, seed)
        return Split(rows[~mask], rows[mask])
    first = joined(read_groups(activations, groups), activations.twins)[rows]
    names, group, sizes = np.unique(first, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise UserError(
            f"held_out_by: the {len(rows):,} images of {activations.path} are all in one group, so "
            f"none can be held out: name a label with more values"
        )
    chosen = choose(sizes, fraction, seed)
    mask = chosen[group]
    logs.say(
        f"held out: {chosen.sum():,} of {len(names):,} groups, {mask.sum():,} of {len(rows):,} "
        f"images ({mask.mean():.1%}; held_out: {fraction})"
    )
    return Split(rows[~mask], rows[mask], groups, len(names), int(chosen.sum()))


def read_groups(activations: Activations, sha256: str) -> np.ndarray:
    """For each listed image, the row of the first image of its group: (n,) int64."""
    path = activations.path.parent.parent / PLANS / groups_name(sha256)
    if not path.is_file() or sha256_file(path) != sha256:
        raise UserError(f"held_out_by: {path} is missing or was altered: start the workflow again")
    return np.load(path, allow_pickle=False)


def joined(groups: np.ndarray, twins: np.ndarray) -> np.ndarray:
    """Join groups that have an image or its near-copy in common.

    Args:
        groups: (n,) int64, for each image a row of its group, which stands for the group.
        twins: (m, 2) int64, pairs of copies and near-copies.

    Returns:
        (n,) int64, the same for the joined groups.
    """
    stands = np.arange(len(groups))
    for one, other in groups[twins].tolist():
        a, b = _root(stands, one), _root(stands, other)
        stands[max(a, b)] = min(a, b)
    while not np.array_equal(stands, stands[stands]):
        stands = stands[stands]
    return stands[groups]


def _root(stands: np.ndarray, row: int) -> int:
    while stands[row] != row:
        row = int(stands[row])
    return row


def choose(sizes: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Choose groups whose images make up a share, as near as a random order of them allows.

    At least one group is chosen, and at least one isn't.

    Args:
        sizes: (g,) int64, images of each group; two groups or more.

    Returns:
        (g,) bool.
    """
    chosen, wanted = np.zeros(len(sizes), bool), fraction * sizes.sum()
    total = 0
    for group in np.random.default_rng([seed, 0, PURPOSE]).permutation(len(sizes)).tolist():
        if abs(total + sizes[group] - wanted) < abs(total - wanted):
            chosen[group], total = True, total + sizes[group]
    if not chosen.any():
        chosen[np.argmin(sizes)] = True
    if chosen.all():
        chosen[np.argmin(sizes)] = False
    return chosen
