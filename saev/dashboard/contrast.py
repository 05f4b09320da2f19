"""The data of the view Contrast: on how many images of each label a latent fires, how strongly on
average, and how strongly on a few of these images that were drawn at random."""

import base64
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from saev.analyze.artifact import Analysis, n_parts
from saev.analyze.counts import with_sums
from saev.analyze.label_counts import Vocabulary, read_labels, require_counts
from saev.core.errors import UserError
from saev.core.files import write_bytes
from saev.dashboard import artifact as names
from saev.dashboard.heatmaps import as_bytes
from saev.dashboard.image_rows import Pair
from saev.dashboard.scripts import script, varints
from saev.dashboard.structures import ContrastBlock, ContrastIndex, DrawnImage

LEAST_IMAGES = 5
"""A label of fewer images is left out: a share of them would say nothing."""
MOST_LABELS = 1024
"""How many labels of a name are kept, those of most images. Bounds memory and files."""
OF_LARGEST = 1000
"""Means are given as parts of the latent's largest activation."""
N_DRAWN = 6
"""How many images of each label are drawn."""


class Contrasted(NamedTuple):
    """The labels of one name that can be contrasted."""

    codes: np.ndarray
    """(m,) int64: their codes, ascending."""
    texts: list[str]
    images: list[int]
    """How many images have each."""
    n_few: int
    """How many labels have too few images."""
    n_beyond: int
    """How many others are left out, as there are so many."""


class Contrast:
    """Collects the data of the view.

    Args:
        analysis: the analysis that is shown.

    Raises:
        UserError: its counts were altered after they were made.
    """

    def __init__(self, analysis: Analysis) -> None:
        self.analysis, self.n_parts = analysis, n_parts(analysis.labels.n_images)
        require_counts(analysis.path, self.n_parts, len(analysis.label_names))
        self.labels = [
            contrasted(read_labels(analysis.path, self.n_parts, index)[0])
            for index in range(len(analysis.label_names))
        ]
        self.drawn: dict[Pair, list[int]] = {}
        self._fires: dict[int, bytes] = {}

    def wanted(self) -> set[Pair]:
        """The labels of which images must be drawn."""
        return {(i, text) for i, label in enumerate(self.labels) for text in label.texts}

    def take(self, drawn: dict[Pair, list[int]]) -> np.ndarray:
        """Take the images that were drawn of each label. Return their rows: (m,) int64."""
        self.drawn = {pair: drawn.get(pair, [])[:N_DRAWN] for pair in self.wanted()}
        self._fires = {row: b"" for rows in self.drawn.values() for row in rows}
        return np.array(sorted(self._fires), np.int64)

    def add(
        self,
        row: int,
        latents: np.ndarray,
        values: np.ndarray,
        patches: np.ndarray,
        peak: np.ndarray,
    ) -> None:
        """Add an image: see `ImagePages.add`. Those that weren't drawn are passed over.

        Args:
            peak: (n,) float32, the largest activation of each latent.
        """
        if row in self._fires:
            gaps = np.diff(latents, prepend=-1) - 1
            fires = np.stack([gaps, as_bytes(values, peak[latents]), patches], axis=1)
            self._fires[row] = varints(fires.reshape(-1))

    def write(
        self, out: Path, keys: dict[int, str], support: list[np.ndarray], peak: np.ndarray
    ) -> None:
        """Write the scripts.

        Args:
            out: folder of the page; keys: names of images by their rows.
            support: for each name, on how many labelled images each latent fires, (n,) int64.
            peak: (n,) float32, the largest activation of each latent.

        Raises:
            UserError: the counts aren't those that the figures were made from.
        """
        for index, label in enumerate(self.labels):
            content: ContrastIndex = {
                "texts": label.texts,
                "images": label.images,
                "n_few": label.n_few,
                "n_beyond": label.n_beyond,
                "least": LEAST_IMAGES,
            }
            write_bytes(out / names.contrast_index(index), script(f"contrast {index}", content))
            fires = self._packed(index, support[index], peak)
            each = names.contrast_labels(len(support[index]))
            for number, first in enumerate(range(0, len(fires), each)):
                texts = label.texts[first : first + each]
                block: ContrastBlock = {
                    "fires": [_text(one) for one in fires[first : first + each]],
                    "drawn": [self._described(index, text, keys) for text in texts],
                }
                name = names.contrast_block(index, number)
                write_bytes(out / name, script(f"contrast {index} {number}", block))

    def _described(self, index: int, text: str, keys: dict[int, str]) -> list[DrawnImage]:
        rows = self.drawn[index, text]
        return [{"row": r, "key": keys[r], "fires": _text(self._fires[r])} for r in rows]

    def _packed(self, index: int, support: np.ndarray, peak: np.ndarray) -> list[bytearray]:
        """For each label that is kept: which latents fire, on how many images, how strongly.

        Memory holds four or five bytes for each pair of a latent and a label, and no more pairs
        than `MOST_LABELS` times the number of latents.
        """
        vocabulary, runs = read_labels(self.analysis.path, self.n_parts, index)
        n_latents, n_labels = len(support), len(vocabulary.texts)
        codes, images = self.labels[index].codes, np.array(self.labels[index].images)
        place = np.full(n_labels, -1, np.int64)
        place[codes] = np.arange(len(codes))
        found, last = [bytearray() for _ in codes], np.full(len(codes), -1, np.int64)
        total = np.zeros(n_latents, np.int64)
        for keys, counts, sums in with_sums(runs, n_latents, n_labels):
            latent, label = np.divmod(keys, n_labels)
            np.add.at(total, latent, counts)
            order = np.argsort(place[label], kind="stable")
            order = order[place[label[order]] >= 0]
            latent, label, counts = latent[order], place[label[order]], counts[order]
            means = np.rint(OF_LARGEST * sums[order] / images[label] / peak[latent]).astype(
                np.int64
            )
            ends = np.searchsorted(label, np.arange(len(codes) + 1))
            for one, (low, high) in enumerate(pairwise(ends.tolist())):
                if low < high:
                    gaps = np.diff(latent[low:high], prepend=last[one]) - 1
                    last[one] = latent[high - 1]
                    entries = (gaps, counts[low:high], means[low:high])
                    found[one] += varints(np.stack(entries, 1).reshape(-1))
        if not np.array_equal(total, support):
            raise UserError(
                f"the parts of {self.analysis.path} aren't those that it was made from: run the "
                "stage analyze again"
            )
        return found


def contrasted(vocabulary: Vocabulary) -> Contrasted:
    """The labels of a name that can be contrasted, sorted."""
    counts = vocabulary.counts
    enough = np.flatnonzero(counts >= LEAST_IMAGES)
    codes = np.sort(enough[np.argsort(-counts[enough], kind="stable")][:MOST_LABELS])
    texts = [vocabulary.texts[code] for code in codes.tolist()]
    few = len(counts) - len(enough)
    return Contrasted(codes, texts, counts[codes].tolist(), few, len(enough) - len(codes))


def _text(packed: bytes | bytearray) -> str:
    return base64.b64encode(packed).decode()
