"""The classes of a label, and the images on which probes are fitted and judged."""

from typing import NamedTuple

import numpy as np

from saev.analyze.inputs import Inputs
from saev.core import logs
from saev.labels.artifact import PREFIX

FEWEST = 10
"""A class with fewer images is left out."""
OWN_SHARE = 0.2
"""Share of the images that judge, where the training has held out none."""
MOST_TRAINING, MOST_JUDGING = 16_384, 4096
"""Largest numbers of images to fit on and to judge by. They bound memory."""
MOST_VECTORS = 1 << 20
"""Largest number of vectors to fit on. It bounds time."""


class Classes(NamedTuple):
    """Labelled images, and their classes."""

    names: list[str]
    """C classes, sorted."""
    training: np.ndarray
    """(t,) int64 row ids, ascending."""
    training_codes: np.ndarray
    """(t,) int64, the class of each; −1 for a class that is left out."""
    judging: np.ndarray
    """(h,) int64 row ids, ascending; no probe is fitted on them."""
    judging_codes: np.ndarray
    left_out: dict[str, int]
    """Classes with too few images, and how many they have."""
    note: str
    """How the images were split, if not as the training's."""

    def lacking(self, label: str) -> str:
        """Why no probe can tell the classes of ``label`` apart; empty if one can."""
        if len(self.names) > 1:
            return ""
        enough = f"{FEWEST} images, and some on both sides of the split"
        return f"{label} has fewer than two classes with {enough}"


def classes_of(inputs: Inputs, label: str, seed: int) -> Classes:
    """The classes of ``label`` with at least `FEWEST` images, and at least one on each side.

    The sides are those of the training: images that it held out judge. If there are none, or other
    images are looked at, a fifth of the images judges.

    Args:
        seed: of the sample, and of the split where the training has none.
    """
    codes, texts = codes_of(inputs, label)
    rows = inputs.activations.rows(0, inputs.activations.n_images)
    rows = rows[codes[rows] >= 0]
    held_out, note = sides_of(inputs, rows, seed)
    most = min(MOST_TRAINING, max(1, MOST_VECTORS // inputs.stream.n_patches))
    training = _some(rows[~held_out], most, [seed, 0])
    judging = _some(rows[held_out], min(MOST_JUDGING, most), [seed, 1])
    n = len(texts)
    total = np.bincount(codes[rows], minlength=n)
    sides = [np.bincount(codes[side], minlength=n) for side in (training, judging)]
    kept = (total >= FEWEST) & (sides[0] > 0) & (sides[1] > 0)
    new = np.where(kept, np.cumsum(kept) - 1, -1)
    left_out = {texts[i]: int(total[i]) for i in np.flatnonzero(~kept)}
    say_left_out(label, left_out, n)
    names = [texts[i] for i in np.flatnonzero(kept)]
    return Classes(
        names, training, new[codes[training]], judging, new[codes[judging]], left_out, note
    )


def sides_of(inputs: Inputs, rows: np.ndarray, seed: int) -> tuple[np.ndarray, str]:
    """Which of the images ``rows`` (n,) judge: (n,) bool; and a note if the training's don't.

    Args:
        seed: of the split where the training has none.
    """
    held_out = inputs.splits(rows).get("held_out", np.zeros(len(rows), bool))
    if held_out.any():
        return held_out, ""
    note = "the training held out no image of these: a fifth of them judges"
    return inputs.activations.held_out(rows, OWN_SHARE, seed), note


def say_left_out(what: str, left_out: dict[str, int], n: int) -> None:
    """Name classes with too few images, of ``n`` in all."""
    if not left_out:
        return
    named = ", ".join(f"{name} ({count})" for name, count in list(left_out.items())[:10])
    more = f" and {len(left_out) - 10:,} more" if len(left_out) > 10 else ""
    logs.say(
        f"{what}: {len(left_out):,} of {n:,} classes are left out, as they have fewer than "
        f"{FEWEST} images, or none on one side of the split: {named}{more}"
    )


def codes_of(inputs: Inputs, label: str) -> tuple[np.ndarray, list[str]]:
    """The label of each listed image as a number, and the texts: (n,) int64, −1 for none."""
    texts: set[str] = set()
    for _, table in inputs.labels.pieces():
        texts |= set(table.column(PREFIX + label).to_pylist()) - {None}
    ordered = sorted(texts)
    numbers = {text: number for number, text in enumerate(ordered)}
    codes = np.full(inputs.labels.n_images, -1, np.int64)
    for first, table in inputs.labels.pieces():
        found = table.column(PREFIX + label).to_pylist()
        codes[first : first + len(found)] = [numbers.get(text, -1) for text in found]
    return codes, ordered


def _some(rows: np.ndarray, most: int, key: list[int]) -> np.ndarray:
    if len(rows) <= most:
        return rows
    chosen: np.ndarray = np.random.default_rng(key).choice(rows, most, replace=False, shuffle=False)
    return np.sort(chosen)
