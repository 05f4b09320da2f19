"""Twins: images with equal files, or nearly equal images. They stay on one side of every split."""

from collections.abc import Iterable

import numpy as np

from saev.activations.near_twins import NearTwins

DIGITS = 16
"""Digits of a SHA-256 to compare. Among 10 million images, the chance that two different ones agree
is 3 in a million. Such images would only stay on one side of a split."""

MANY, LARGE = 20, 0.05
"""A group of more images than this, which is more than this share of them, decides a split."""
FEW_DIRECTIONS = 0.99
"""Cosine above which pictures that were saved again are hardly found; docs/measured.md has some."""


def find_twins(pieces: Iterable[tuple[np.ndarray, list[str]]]) -> np.ndarray:
    """Find images that are copies of an earlier one.

    Args:
        pieces: row ids (r,) int64, ascending, and the SHA-256 of each image's file, piece by piece.
            Keeps only 8 bytes of each SHA-256.

    Returns:
        (m, 2) int64: the row of each copy, ascending, and that of the first image with the same
        content.
    """
    rows, digests = [np.empty(0, np.int64)], [np.empty(0, np.uint64)]
    for here, texts in pieces:
        rows.append(here)
        digests.append(np.array([int(text[:DIGITS], 16) for text in texts], np.uint64))
    all_rows, all_digests = np.concatenate(rows), np.concatenate(digests)
    order = np.argsort(
        all_digests, kind="stable"
    )  # stable, so the first of equal images comes first
    found = all_digests[order]
    begins = np.ones(len(found), bool)
    begins[1:] = found[1:] != found[:-1]
    first = order[np.maximum.accumulate(np.where(begins, np.arange(len(found)), 0))]
    copies = order[~begins]
    pairs = np.stack([all_rows[copies], all_rows[first[~begins]]], axis=1)
    return pairs[np.argsort(pairs[:, 0], kind="stable")]


def joined_twins(copies: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Join copies with near-twins.

    Args:
        copies: (m, 2) int64, as `find_twins` gives them.
        near: (k, 2) int64, the same for near-twins among the images that aren't copies.

    Returns:
        (m + k, 2) int64: each of these rows, ascending, and the first row of its group.
    """
    pairs = np.concatenate([np.stack([copies[:, 0], first_of(copies[:, 1], near)], axis=1), near])
    return pairs[np.argsort(pairs[:, 0], kind="stable")]


def twins_doubts(twins: np.ndarray, near: NearTwins, n_images: int) -> list[str]:
    """What should be said about twins, a line each.

    Args:
        twins: (m, 2) int64, as `joined_twins` gives them.
        near: what was found of near-twins.
        n_images: number of recorded images.
    """
    found = []
    largest = 1 + int(np.unique(twins[:, 1], return_counts=True)[1].max()) if len(twins) else 1
    if largest > max(MANY, n_images * LARGE):
        found.append(
            f"{largest:,} of {n_images:,} images are copies or near-copies of one another, if only "
            f"by way of others. They will be held out together, or not at all"
        )
    if near.cosine > FEW_DIRECTIONS:
        found.append(
            f"near-copies were hardly sought: the activations vary in only "
            f"{near.n_directions:.1f} directions, so only vectors with a cosine of "
            f"{near.cosine:.6f} count. Record a layer that tells images apart, or name a label "
            f"that near-copies share in held_out_by"
        )
    if near.n_crowded:
        found.append(
            f"{near.n_crowded:,} images resemble more others than they were compared with, and may "
            f"be near-copies that weren't found"
        )
    return found


def first_of(rows: np.ndarray, twins: np.ndarray) -> np.ndarray:
    """Replace each twin by the first image of its group.

    Args:
        rows: (n,) int64.
        twins: (m, 2) int64, as `find_twins` or `joined_twins` gives them.

    Returns:
        (n,) int64.
    """
    at = np.searchsorted(twins[:, 0], rows)
    at[at == len(twins)] = 0
    if not len(twins):
        return rows
    return np.where(twins[at, 0] == rows, twins[at, 1], rows)
