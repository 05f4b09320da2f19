"""A logistic regression on one latent for each latent and class, from histograms.

For a latent with value v on a patch, and a class that the patch has (y = 1) or not (y = 0), the
probe says p = σ(w v + a). It minimises, over the N training patches and with the standard deviation
s of v over them,

    Σ −y ln p − (1 − y) ln(1 − p) + (w s)² / 2

which is scikit-learn's `LogisticRegression(C=1)` of v / s, and that of sparse probing. With the
mean cross entropy L of the probe, and L_π of the best constant, R = 1 − L / L_π (Gao et al. 2024,
Scaling and evaluating sparse autoencoders, section 4.2, gives L; Stevens et al. 2025, arXiv
2511.17735, normalises it so). R is 1 for a perfect probe, and 0 for one that knows no more than how
common the class is.

Σ ln(1 + exp(w v + a)) depends on the latent alone, and the rest on the sums of y and y v. So one
histogram of the latent, and one of each of its classes, are enough. `JOINED` bins become one,
which has the mean of their values.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import expit, xlogy

from saev.evaluate.mask_scores import BINS, PER_OCTAVE, Counted, edge_of

JOINED = PER_OCTAVE // 32
"""Bins that are joined to one: 32 are left to a doubling."""
ITERATIONS, HALVINGS = 50, 20
TOLERANCE = 1e-9
"""Largest gradient at the end, as a share of the number of patches."""
AT_ONCE = 4096
"""Pairs whose bins, some hundred each, are in memory at once."""


class Probes(NamedTuple):
    """A probe for each of some pairs of latent and class."""

    weight: np.ndarray
    """(p,) float64, w."""
    intercept: np.ndarray
    """(p,) float64, a."""


class Joined(NamedTuple):
    """Histograms with fewer bins."""

    latent: np.ndarray
    """(m,) int64, the latent of each bin, ascending."""
    n: np.ndarray
    """(m,) int64, patches in it."""
    value: np.ndarray
    """(m,) float64, their mean value."""
    pair: np.ndarray
    """(q,) int64, ``latent * n_numbers + number``, ascending."""
    total: np.ndarray
    """(q,) float64, the sum of the values of each."""


class ProbeSums(NamedTuple):
    """All that probes need to know of some patches."""

    start: np.ndarray
    """(p,) int64: where the bins of each pair start. The first is that of value 0."""
    n: np.ndarray
    """(m,) int64, patches in each bin."""
    value: np.ndarray
    """(m,) float64, their mean value."""
    positives: np.ndarray
    """(p,) float64, Σ y."""
    total: np.ndarray
    """(p,) float64, Σ y v."""

    def over_bins(self, of_pairs: np.ndarray) -> np.ndarray:
        """What pairs have (p,), for each of their bins: (m,)."""
        return np.repeat(of_pairs, np.diff(self.start, append=len(self.n)))

    def added(self, of_bins: np.ndarray) -> np.ndarray:
        """ProbeSums over the bins (m,) of each pair: (p,)."""
        found: np.ndarray = np.add.reduceat(of_bins, self.start)
        return found


class Explained(NamedTuple):
    """R of each pair."""

    training: np.ndarray
    """(p,) float64, on the patches that the probe was fitted on."""
    held_out: np.ndarray
    """(p,) float64, on the others."""


def judge(training: Counted, judging: Counted, sizes: np.ndarray, pairs: np.ndarray) -> Explained:
    """Fit the probes of ``pairs`` (p,) int64 on training patches, and judge them.

    Args:
        training, judging: histograms of the same latents.
        sizes: (2, n_numbers) int64, how many patches there are on each side: all (first), and of
            each class.
    """
    sides = [join(counted, sizes.shape[1]) for counted in (training, judging)]
    shares = sizes / sizes[:, :1]
    found: list[list[np.ndarray]] = [[np.zeros(0)], [np.zeros(0)]]
    for first in range(0, len(pairs), AT_ONCE):
        here = pairs[first : first + AT_ONCE]
        number = here % sizes.shape[1]
        of = [sums(*side, here) for side in zip(sides, sizes, strict=True)]
        probes = fit(of[0])
        for one, (these, share) in enumerate(zip(of, shares, strict=True)):
            base = constant_loss(shares[0, number], share[number])
            # Where everything is of the class, there is nothing to know.
            known = np.isfinite(base) & (base > 0)
            ratio = np.divide(losses(these, probes), base, out=np.ones(len(here)), where=known)
            found[one].append(1 - ratio)
    return Explained(*(np.concatenate(part) for part in found))


def constant_loss(share: np.ndarray, judged: np.ndarray) -> np.ndarray:
    """Mean cross entropy of always saying ``share`` (p,), where the share is ``judged`` (p,)."""
    found: np.ndarray = -xlogy(judged, share) - xlogy(1 - judged, 1 - share)
    return found


def join(counted: Counted, n_numbers: int) -> Joined:
    """Join the bins of histograms, and add up their values."""
    value = (edge_of(counted.bin) + edge_of(counted.bin + 1)) / 2
    of_all = counted.pair % n_numbers == 0
    latent, n = counted.pair[of_all] // n_numbers, counted.n[of_all]
    _, first = np.unique(latent * BINS + counted.bin[of_all] // JOINED, return_index=True)
    joined = _added(n, first)
    mean = _added(n * value[of_all], first) / joined
    pair, index = np.unique(counted.pair, return_index=True)
    return Joined(latent[first], joined, mean, pair, _added(counted.n * value, index))


def sums(of: Joined, sizes: np.ndarray, pairs: np.ndarray) -> ProbeSums:
    """What the probes of ``pairs`` (p,) need to know. A latent without bins never fires."""
    latent, number = np.divmod(pairs, len(sizes))
    low, high = (np.searchsorted(of.latent, latent, side=side) for side in ("left", "right"))
    length = high - low + 1
    start = np.cumsum(length) - length
    # Each pair has the bins of its latent, after one for the patches on which it doesn't fire.
    at = np.arange(length.sum()) - np.repeat(start + 1 - low, length)
    n, value = (np.append(part, 0)[np.maximum(at, 0)] for part in (of.n, of.value))
    n[start], value[start] = 0, 0
    n[start] = sizes[0] - np.add.reduceat(n, start)
    where = np.minimum(np.searchsorted(of.pair, pairs), max(0, len(of.pair) - 1))
    known = of.pair[where] == pairs if len(of.pair) else np.zeros(len(pairs), bool)
    total = np.zeros(len(pairs))
    total[known] = of.total[where[known]]
    return ProbeSums(start, n, value, sizes[number].astype(np.float64), total)


def _added(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """ProbeSums of ``values`` from each of ``first`` to the next."""
    return np.add.reduceat(values, first) if len(first) else values[:0]


def losses(of: ProbeSums, probes: Probes) -> np.ndarray:
    """Mean cross entropy of each probe in nats: (p,) float64."""
    return _losses(of, *probes) / of.added(of.n)


def _losses(of: ProbeSums, w: np.ndarray, a: np.ndarray) -> np.ndarray:
    """Summed cross entropies (p,)."""
    margin = of.over_bins(w) * of.value + of.over_bins(a)
    return of.added(of.n * np.logaddexp(0, margin)) - w * of.total - a * of.positives


def fit(of: ProbeSums) -> Probes:
    """The probes, by Newton's method. A step that doesn't lower the loss is halved."""
    n = of.added(of.n).astype(np.float64)
    mean = of.added(of.n * of.value) / n
    variance = of.added(of.n * (of.value - of.over_bins(mean)) ** 2) / n
    # A latent with the same value everywhere tells nothing; its weight stays 0.
    variance = np.where(variance > 0, variance, 1)
    w, a = np.zeros(len(n)), np.log((of.positives + 0.5) / (n - of.positives + 0.5))

    def loss(w: np.ndarray, a: np.ndarray) -> np.ndarray:
        return _losses(of, w, a) + w * w * variance / 2

    now = loss(w, a)
    for _ in range(ITERATIONS):
        p = expit(of.over_bins(w) * of.value + of.over_bins(a))
        slope_a = of.added(of.n * p) - of.positives
        slope_w = of.added(of.n * p * of.value) - of.total + variance * w
        largest = np.maximum(np.abs(slope_a), np.abs(slope_w) / np.sqrt(variance))
        if (largest <= TOLERANCE * n).all():
            break
        curved = of.n * p * (1 - p)
        aa, aw = of.added(curved), of.added(curved * of.value)
        ww = of.added(curved * of.value**2) + variance
        determinant = aa * ww - aw * aw
        step_w = (aa * slope_w - aw * slope_a) / determinant
        step_a = (ww * slope_a - aw * slope_w) / determinant
        for _ in range(HALVINGS):
            worse = ~(loss(w - step_w, a - step_a) <= now)
            if not worse.any():
                break
            step_w, step_a = (np.where(worse, step / 2, step) for step in (step_w, step_a))
        better = loss(w - step_w, a - step_a) <= now
        if not better.any():
            break
        w, a = np.where(better, w - step_w, w), np.where(better, a - step_a, a)
        now = loss(w, a)
    return Probes(w, a)
