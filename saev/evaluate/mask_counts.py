"""Counts what latents find of masks, and chooses the latent that finds most of each class.

`mask_scores` says how a latent is judged. Latents and thresholds are chosen on training images, and
held-out images judge.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from saev.analyze.counts import Counter, merged, open_counts
from saev.analyze.top import Kept, largest_patches, strongest
from saev.evaluate import mask_probes
from saev.evaluate.classes import FEWEST
from saev.evaluate.firing import Firing
from saev.evaluate.mask_scores import BINS, Counted, Scores, bin_of, iou_at, scores
from saev.evaluate.patch_classes import Masks

TOP = 16
LIMIT = 1 << 20
"""How many counts are in memory at once. A score of them takes some ten times their memory."""
TRAINING, JUDGING = 0, 1


class MaskCounts:
    """Counts, for each latent and class, how many patches have which value.

    Args:
        masks: the classes of patches; judging: (n_images,) bool, images that judge, by row.
        n_latents: number of latents.
        folder: made here for what doesn't fit into memory; limit: see `Counter`.
    """

    def __init__(
        self, masks: Masks, judging: np.ndarray, n_latents: int, folder: Path, limit: int = LIMIT
    ) -> None:
        self.masks, self.judging, self.n_latents = masks, judging, n_latents
        self.folder, self.limit = folder, limit
        self.n_numbers = len(masks.names) + 1
        folder.mkdir()
        self.counter = Counter(folder, 2 * self.n_numbers * BINS, limit)
        self.n_patches = np.zeros((2, self.n_numbers), np.int64)
        """(2, n_numbers) by side: all patches (first), and those of each class."""
        self.n_images = np.zeros((2, self.n_numbers), np.int64)
        self.n_missing = 0
        """Images without a mask."""
        self.top = Kept(n_latents, TOP, strongest)

    def add(self, seen: Firing) -> None:
        """Take a step: see `Observer`."""
        if not len(seen.rows):
            return
        have, numbers = self.masks.read(seen.rows)
        self.n_missing += int((~have).sum())
        side = self.judging[seen.rows].astype(np.int64)
        self._count_patches(have, side, numbers)
        mine = have[seen.image]
        image, patch, latent, value = (
            part[mine] for part in (seen.image, seen.patch, seen.latent, seen.value)
        )
        bins, first = bin_of(value), side[image] * self.n_numbers
        self.counter.add(latent, first * BINS + bins)
        for number in numbers[:, image, patch]:
            has = number > 0
            self.counter.add(latent[has], (first + number)[has] * BINS + bins[has])
        pair, largest, at = largest_patches(
            image * self.n_latents + latent, value, patch.astype(np.int32)
        )
        image, latent = np.divmod(pair, self.n_latents)
        # The class of the patch takes the place of the patch.
        self.top.add(latent, largest, seen.rows[image], numbers[0, image, at].astype(np.int32))

    def _count_patches(self, have: np.ndarray, side: np.ndarray, numbers: np.ndarray) -> None:
        for one in (TRAINING, JUDGING):
            here = numbers[:, have & (side == one)]
            n = here.shape[1]
            patches = np.bincount(here.reshape(-1), minlength=self.n_numbers)
            of_image = np.unique(here + np.arange(n)[:, None] * self.n_numbers) % self.n_numbers
            images = np.bincount(of_image, minlength=self.n_numbers)
            # Number 0 is what has no class; it gives way to what all have in common.
            patches[0], images[0] = n * here.shape[2], n
            self.n_patches[one] += patches
            self.n_images[one] += images

    def shares(self) -> np.ndarray:
        """Share of the judging images' patches that have a class: (n_numbers,) float64.

        It is the AP and the IoU of a constant.
        """
        found: np.ndarray = self.n_patches[JUDGING] / self.n_patches[JUDGING, 0]
        return found

    def kept(self) -> np.ndarray:
        """Classes with enough images, and some on both sides: (n_numbers,) bool."""
        enough: np.ndarray = (self.n_images.sum(0) >= FEWEST) & (self.n_images > 0).all(0)
        enough[0] = False
        return enough

    def pieces(self) -> Iterator[tuple[Counted, Counted]]:
        """What was counted on training and on judging images, for a range of latents at a time."""
        self.counter.flush()
        n_labels = self.counter.n_labels
        runs = [
            open_counts(self.folder, f"run-{i:05}", n_labels) for i in range(self.counter.n_runs)
        ]
        for keys, counts in merged(runs, self.n_latents, n_labels, self.limit):
            place, bins = np.divmod(keys, BINS)
            latent, place = np.divmod(place, 2 * self.n_numbers)
            side, number = np.divmod(place, self.n_numbers)
            pair = latent * self.n_numbers + number
            training, judging = (
                Counted(*(part[side == one] for part in (pair, bins, counts)))
                for one in (TRAINING, JUDGING)
            )
            yield training, judging

    def purity(self) -> np.ndarray:
        """By latent, the share of the most common class among its top patches: (n,) float64.

        NaN for a latent that fires on fewer than `TOP` images.
        """
        self.top.flush()
        found = np.full(self.n_latents, np.nan)
        full = np.flatnonzero((self.top.rows >= 0).all(1))
        numbers = np.sort(self.top.patches[full], axis=1)
        most = np.zeros(len(full), np.int64)
        for first in range(TOP):
            run = (numbers == numbers[:, first : first + 1]).sum(1)
            most = np.maximum(most, np.where(numbers[:, first] > 0, run, 0))
        found[full] = most / TOP
        return found


class Chosen(NamedTuple):
    """The latent that was chosen for each class, and how held-out images judge it."""

    latent: np.ndarray
    """(n_numbers,) int64; −1 where no latent fires on a training patch of the class."""
    ap: np.ndarray
    """(n_numbers,) float64."""
    iou_latent: np.ndarray
    """(n_numbers,) int64, the latent with the best IoU; −1 as above."""
    threshold: np.ndarray
    """(n_numbers,) int64, the bin from which it counts as firing."""
    iou: np.ndarray
    probe_latent: np.ndarray
    """(n_numbers,) int64, the latent whose probe has the largest R; −1 as above."""
    probe_r: np.ndarray
    """(n_numbers,) float64, R of that probe; 0 where there is none."""
    by_latent: np.ndarray
    """(n,) float64: AP of each latent for the class that it finds best on training images."""


def choose(found: MaskCounts) -> Chosen:
    """Choose on training images, and judge by the others."""
    kept, n_numbers = found.kept(), found.n_numbers
    chance = found.shares()
    latent, iou_latent, probe_latent = np.full((3, n_numbers), -1)
    threshold = np.zeros(n_numbers, np.int64)
    ap, iou, by_latent = chance.copy(), np.zeros(n_numbers), np.full(found.n_latents, np.nan)
    best_ap, best_iou, best_r, probe_r = np.zeros((4, n_numbers))
    for training, judging in found.pieces():
        fitted = _of(scores(training, found.n_patches[TRAINING]), kept)
        judged = scores(judging, found.n_patches[JUDGING])
        held_out = _looked_up(judged, fitted.pair, chance)
        owner, number = np.divmod(fitted.pair, n_numbers)
        order = np.lexsort((number, -fitted.ap, owner))
        first = order[np.unique(owner[order], return_index=True)[1]]
        by_latent[owner[first]] = held_out[first]
        for at in _largest(fitted.ap, number):
            if fitted.ap[at] > best_ap[number[at]]:
                best_ap[number[at]] = fitted.ap[at]
                latent[number[at]], ap[number[at]] = owner[at], held_out[at]
        for at in _largest(fitted.iou, number):
            if fitted.iou[at] > best_iou[number[at]]:
                best_iou[number[at]] = fitted.iou[at]
                iou_latent[number[at]], threshold[number[at]] = owner[at], fitted.threshold[at]
                iou[number[at]] = iou_at(
                    judging,
                    found.n_patches[JUDGING],
                    int(fitted.pair[at]),
                    int(threshold[number[at]]),
                )
        probed = mask_probes.judge(training, judging, found.n_patches, fitted.pair)
        for at in _largest(probed.training, number):
            if probed.training[at] > best_r[number[at]]:
                best_r[number[at]] = probed.training[at]
                probe_latent[number[at]], probe_r[number[at]] = owner[at], probed.held_out[at]
    return Chosen(latent, ap, iou_latent, threshold, iou, probe_latent, probe_r, by_latent)


def _of(all_of: Scores, kept: np.ndarray) -> Scores:
    """The scores of classes that are kept."""
    return Scores(*(part[kept[all_of.pair % len(kept)]] for part in all_of))


def _looked_up(judged: Scores, pair: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """AP of pairs (p,). A latent that fires on no patch of the class has that of a constant."""
    found: np.ndarray = chance[pair % len(chance)].copy()
    at = np.searchsorted(judged.pair, pair)
    known = np.flatnonzero(at < len(judged.pair))
    known = known[judged.pair[at[known]] == pair[known]]
    found[known] = judged.ap[at[known]]
    return found


def _largest(values: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Index of the largest value of each class; the first in a tie."""
    order = np.lexsort((np.arange(len(values)), -values, number))
    return order[np.unique(number[order], return_index=True)[1]]
