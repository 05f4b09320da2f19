"""Figures of each latent, and of all together.

Undefined figures are null; in memory they are NaN.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from saev.analyze.artifact import PURITY_IMAGES
from saev.analyze.counts import PairCounts, merged
from saev.analyze.totals import Totals

DENSE = 0.1
"""A latent with a larger `fire_rate` is dense."""
MIN_SUPPORT = 10
"""With fewer labelled images than this, the share of a label says nothing."""
LIVE_IMAGES = 16
"""On how many images a latent must fire to count in the summary of purity."""
N_COMMON = 8
"""How many of the labels of the images on which a latent fires are kept for it."""
SEED, SHUFFLES = 0, 5


class LabelFigures(NamedTuple):
    """Figures of each latent for one label. NaN where a figure isn't defined."""

    entropy: np.ndarray
    """(n,) float64: -sum p ln p / ln C over all labelled images on which it fires."""
    support: np.ndarray
    """(n,) int64: the number of those images."""
    purity: np.ndarray
    """(n,) float64: the largest p."""
    share: np.ndarray
    """(n,) float64: p of a given label, 0 if the latent fires on no image with it."""
    common: np.ndarray
    """(n, N_COMMON) int64: codes of the most common labels, the first one of a tie first; -1 where
    there are fewer."""
    counts: np.ndarray
    """(n, N_COMMON) int64: how many of the images have each; 0 where there are fewer."""


def label_figures(
    runs: list[PairCounts], n_latents: int, n_labels: int, given: np.ndarray
) -> LabelFigures:
    """Entropy and purity of each latent over all images on which it fires.

    Args:
        runs: counts by latent and label; n_labels: C.
        given: (n_latents,) int64: for each latent, the label that `LabelFigures.share` is of; -1
            for none.
    """
    entropy, purity, of_given = np.full((3, n_latents), np.nan)
    support = np.zeros(n_latents, np.int64)
    common = np.full((n_latents, N_COMMON), -1, np.int64)
    most = np.zeros((n_latents, N_COMMON), np.int64)
    for keys, counts in merged(runs, n_latents, n_labels):
        latent, label = np.divmod(keys, n_labels)
        here, first = np.unique(latent, return_index=True)
        total = np.add.reduceat(counts, first)
        largest = np.maximum.reduceat(counts, first)
        place = np.searchsorted(here, latent)
        share = counts / total[place]
        support[here] = total
        purity[here] = largest / total
        # Adding 0 turns the -0 of a single label into 0.
        entropy[here] = -np.add.reduceat(share * np.log(share), first) + 0.0
        hit = label == given[latent]
        of_given[here] = 0
        of_given[latent[hit]] = share[hit]
        order = np.lexsort((label, -counts, latent))
        rank = np.arange(len(order)) - np.searchsorted(latent, latent)
        kept = order[rank < N_COMMON]
        common[latent[kept], rank[rank < N_COMMON]] = label[kept]
        most[latent[kept], rank[rank < N_COMMON]] = counts[kept]
    few = support < MIN_SUPPORT
    entropy[few] = purity[few] = of_given[few] = np.nan
    entropy = normalised(entropy, n_labels)
    return LabelFigures(entropy, support, purity, of_given, common, most)


def chance_of(share: np.ndarray, n: np.ndarray, expected: np.ndarray, n_labels: int) -> np.ndarray:
    """Largest probability that shuffled labels give a label as large a share.

    Chernoff's bound for one label, ``exp(-n KL(share, expected))`` (Hoeffding 1963, theorem 1; it
    holds for draws without replacement as well), times the number of labels.

    Args:
        share: (m,) float64, the label's share of some images; n: (m,) int64, how many these are.
        expected: (m,) float64, its share of all images with a label; n_labels: C.

    Returns:
        (m,) float64, 0 to 1.
    """
    p, f = share, expected
    with np.errstate(divide="ignore", invalid="ignore"):
        divergence = p * np.log(p / f) + np.where(p < 1, (1 - p) * np.log((1 - p) / (1 - f)), 0)
    return np.where(p > f, np.minimum(1, n_labels * np.exp(-n * divergence)), 1)


class TopLabels(NamedTuple):
    """The most common label among the top images of each latent."""

    code: np.ndarray
    """(n,) int64: its code, the first one of a tie; -1 without any labelled image."""
    n: np.ndarray
    """(n,) int64: how many of the top images have it."""


def top_labels(codes: np.ndarray) -> TopLabels:
    """Find the most common label among the top images.

    Args:
        codes: (n, k) int64, labels of the top images, -1 without a label or image.
    """
    ordered = np.sort(codes, axis=1)
    best, run = np.zeros((2, len(codes)), np.int64)
    code = np.full(len(codes), -1, np.int64)
    for i in range(codes.shape[1]):
        same = ordered[:, i] == ordered[:, i - 1] if i else np.zeros(len(codes), bool)
        run = np.where(ordered[:, i] < 0, 0, np.where(same, run + 1, 1))
        code = np.where(run > best, ordered[:, i], code)
        best = np.maximum(best, run)
    return TopLabels(code, best)


def chance_top(codes: np.ndarray, images: np.ndarray) -> np.ndarray:
    """`chance_of` the share that the most common label has of the labelled top images.

    Args:
        codes: as for `top_labels`; images: (C,) int64, images of each label.

    Returns:
        (n,) float64, 0 to 1; NaN without any labelled image.
    """
    found, labelled = top_labels(codes), (codes >= 0).sum(1)
    chance = np.full(len(codes), np.nan)
    known = labelled > 0
    expected = images[found.code[known]] / images.sum()
    share = found.n[known] / labelled[known]
    chance[known] = chance_of(share, labelled[known], expected, len(images))
    return chance


def normalised(entropy: np.ndarray, n_labels: int) -> np.ndarray:
    """``entropy / ln C``. NaN if there is at most one label, because nothing could differ."""
    return entropy / math.log(n_labels) if n_labels > 1 else np.full_like(entropy, np.nan)


def purity_top(codes: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Share of the most common label among a latent's top images.

    An image without a label still counts as an image. So missing labels lower this figure and never
    raise it.

    Args:
        codes: (n, k) int64, -1 without a label; present: (n, k) bool, where there is an image.

    Returns:
        (n,) float64; NaN without any labelled image.
    """
    best = top_labels(np.where(present, codes, -1)).n
    n_valid = present.sum(1)
    return np.divide(best, n_valid, out=np.full(len(codes), np.nan), where=best > 0)


def entropy_top(codes: np.ndarray, values: np.ndarray, n_labels: int) -> np.ndarray:
    """Entropy / ln C, where p_c is the share of label c in the activations of labelled top images.

    Args:
        codes: (n, k) int64, -1 without a label or image; values: (n, k) activations.

    Returns:
        (n,) float64; NaN without any labelled image, or with one label at most.
    """
    weights = np.where(codes >= 0, values, 0).astype(np.float64)
    total = weights.sum(1)
    entropy = np.zeros(len(codes))
    for i in range(codes.shape[1]):
        # Keep each label at its first image.
        new = (codes[:, i] >= 0) & ~(codes[:, :i] == codes[:, i : i + 1]).any(1)
        share = np.where(codes == codes[:, i : i + 1], weights, 0).sum(1)
        share = np.divide(share, total, out=np.ones(len(codes)), where=new)
        entropy -= share * np.log(share)
    entropy[total == 0] = np.nan
    return normalised(entropy + 0.0, n_labels)


def shuffled(rows: np.ndarray, codes: np.ndarray, counts: np.ndarray) -> Iterator[np.ndarray]:
    """Permute the labels over all labelled images, and yield those of the top images.

    Only the top images get new labels, drawn without replacement from the labels of all images. A
    permutation of all labels would have the same effect. Images without a label stay without one.

    Args:
        rows, codes: (n, k) row ids and labels of top images, -1 where absent.
        counts: (C,) int64, images of each label.

    Yields:
        (n, k) int64 codes, `SHUFFLES` times, from ``default_rng(SEED)``.
    """
    rng = np.random.default_rng(SEED)
    known = codes >= 0
    images, place = np.unique(rows[known], return_inverse=True)
    ends = np.cumsum(counts)
    for _ in range(SHUFFLES):
        drawn = rng.choice(int(counts.sum()), len(images), replace=False)
        out = np.full_like(codes, -1)
        out[known] = np.searchsorted(ends, drawn, side="right")[place]
        yield out


def purity_summary(
    totals: Totals, codes: np.ndarray, counts: np.ndarray
) -> dict[str, float | int | None]:
    """Mean of `purity_top` over live latents, and the share with 0.75 or more.

    The same figures for shuffled labels are the baseline.

    Args:
        totals: sums of all parts; codes: (n, k) labels of the top images; counts: (C,) of all
            images.
    """
    k = min(PURITY_IMAGES, codes.shape[1])
    rows, codes = totals.top.rows[:, :k], codes[:, :k]
    live = totals.image_count >= LIVE_IMAGES
    purity = purity_top(codes, rows >= 0)
    counted = live & ~np.isnan(purity)
    n = int(counted.sum())
    summary: dict[str, float | int | None] = {"n_latents": n, "top_images": k}
    names = ("mean", "share_75", "shuffled_mean", "shuffled_share_75")
    if not n:
        return summary | dict.fromkeys(names)
    draws = [purity_top(d, rows >= 0)[counted] for d in shuffled(rows, codes, counts)]
    figures = (
        purity[counted].mean(),
        (purity[counted] >= 0.75).mean(),
        np.mean([d.mean() for d in draws]),
        np.mean([(d >= 0.75).mean() for d in draws]),
    )
    return summary | {name: float(f) for name, f in zip(names, figures, strict=True)}


def latent_columns(totals: Totals, n_vectors: int) -> dict[str, np.ndarray]:
    """Columns of `latents.parquet` that need no labels. NaN stands for null.

    Args:
        totals: sums of all parts; n_vectors: how many vectors were seen.
    """
    fire_count, top = totals.fire_count, totals.top
    nan = np.full(len(fire_count), np.nan)
    fires, present = fire_count > 0, top.rows >= 0
    return {
        "latent": np.arange(len(fire_count)),
        "fire_count": fire_count,
        "image_count": totals.image_count,
        "fire_rate": fire_count / n_vectors,
        "mean_activation": np.divide(
            totals.sum_activation, fire_count, out=nan.copy(), where=fires
        ),
        "max_activation": np.where(fires, top.values[:, 0], nan),
        "mean_top_activation": np.divide(
            np.where(present, top.values, 0).sum(1, dtype=np.float64),
            present.sum(1),
            out=nan.copy(),
            where=fires,
        ),
        "n_valid": present.sum(1),
        "dense": fire_count > DENSE * n_vectors,
    }
