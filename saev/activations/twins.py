"""Twins: images with equal files, or nearly equal images. They stay on one side of every split."""

from collections.abc import Iterable

import numpy as np

DIGITS = 16
"""Digits of a SHA-256 to compare. Among 10 million images, the chance that two different ones agree
is 3 in a million. Such images would only stay on one side of a split."""


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
