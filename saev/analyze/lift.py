"""What a latent is called and where it is listed: by the label of its top images, if that is more
common there than chance allows.

Undefined figures are null; in memory they are NaN.
"""

from typing import NamedTuple

import numpy as np

from saev.analyze.figures import TopLabels, top_labels

MIN_TOP = 5
"""With fewer top images than this, the share of a label among them says nothing."""
Z = 1.959963984540054
"""Of a 95 % interval: the 97.5 % quantile of the normal distribution."""
NAMED_BELOW = 0.01
"""The largest `label_chance` of a latent's name."""


class Lift(NamedTuple):
    """Figures of each latent for the most common label of its top images."""

    label: TopLabels
    """This label, and how many of the top images have it."""
    base: np.ndarray
    """(n,) float64: its share of all labelled images; NaN if no top image has a label."""
    lift: np.ndarray
    """(n,) float64: its share of the top images / base; NaN below `MIN_TOP` top images."""
    low: np.ndarray
    """(n,) float64: lower end of the 95 % interval of the lift; NaN where the lift is."""


def wilson_low(hits: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Lower end of the 95 % interval of a share (Wilson 1927):

    ``(p + z²/2n − z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n)`` with ``p = hits / n``.

    Args:
        hits, n: (m,) int64; n > 0.

    Returns:
        (m,) float64.
    """
    p, square = hits / n, Z**2 / n
    half = Z * np.sqrt(p * (1 - p) / n + square / (4 * n))
    return (p + square / 2 - half) / (1 + square)


def lift_top(codes: np.ndarray, present: np.ndarray, images: np.ndarray) -> Lift:
    """How much more common a label is among a latent's top images than among all images.

    An image without a label still counts as a top image, as in `purity_top`.

    Args:
        codes: (n, k) int64, labels of the top images, -1 without a label.
        present: (n, k) bool, where there is a top image.
        images: (C,) int64, how many images have each label.
    """
    found, n_valid = top_labels(np.where(present, codes, -1)), present.sum(1)
    base, lift, low = np.full((3, len(codes)), np.nan)
    known = found.n > 0
    base[known] = images[found.code[known]] / images.sum()
    enough = known & (n_valid >= MIN_TOP)
    hits, of = found.n[enough], n_valid[enough]
    lift[enough] = hits / of / base[enough]
    low[enough] = wilson_low(hits, of) / base[enough]
    return Lift(found, base, lift, low)


def is_name(found: Lift, chance: np.ndarray) -> np.ndarray:
    """Whether the label of the top images is a latent's name.

    The 95 % interval of its lift must lie above 1, and shuffled labels must hardly ever give a
    label such a share.

    Args:
        found: of `lift_top`; chance: (n,) float64, of `chance_top`.

    Returns:
        (n,) bool.
    """
    return (found.low > 1) & (chance < NAMED_BELOW)


class Standing(NamedTuple):
    """What decides where a latent is listed, whatever its label is."""

    image_count: np.ndarray
    """(n,) int64: on how many images it fires."""
    least: int
    """On how many images it must fire to be listed first."""
    aside: np.ndarray
    """(n,) bool: whether it is positional or dense."""


def default_order(
    found: Lift, named: np.ndarray, share: np.ndarray, standing: Standing
) -> np.ndarray:
    """Where each latent stands in the default order: by lift, by turns over labels.

    First come latents with a name: the best one of each label, then the second best of each, and
    so on. The better one has the larger `Lift.low`, and of equals the one that has more of the
    label among all images on which it fires. In each turn, labels follow by the same. Then come
    those without a name, by `Lift.low`; those on few images; those that are positional or dense;
    and the dead ones.

    Args:
        found: of `lift_top`; named: (n,) bool.
        share: (n,) float64, the label's share of all images on which the latent fires, or NaN.
        standing: the latents' other figures.

    Returns:
        (n,) int64: 0 for the first latent, n - 1 for the last.
    """
    n = len(named)
    low, share = np.nan_to_num(found.low), np.nan_to_num(share)
    live, aside = standing.image_count >= standing.least, standing.aside
    dead = standing.image_count == 0
    tier = np.select([dead, aside, ~live, ~named], [4, 3, 2, 1], 0)
    best_first = np.lexsort((np.arange(n), -standing.image_count, -share, -low))
    turn = np.zeros(n, np.int64)
    first = best_first[tier[best_first] == 0]
    codes = found.label.code[first]
    by_label = np.argsort(codes, kind="stable")
    ordered = codes[by_label]
    turn[first[by_label]] = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    place = np.empty(n, np.int64)
    place[best_first] = np.arange(n)
    rank = np.empty(n, np.int64)
    rank[np.lexsort((place, turn, tier))] = np.arange(n)
    return rank
