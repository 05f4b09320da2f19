"""Which latents fire on an image: the data of the pages of images."""

from pathlib import Path

import numpy as np

from saev.analyze.artifact import Analysis
from saev.core.files import write_bytes
from saev.dashboard import artifact as names
from saev.dashboard.scripts import rounded, script
from saev.dashboard.structures import ImageBlock

N_STRONGEST = 16
"""How many latents are kept of an image."""


class ImagePages:
    """Collects the strongest latents of images, which come in rising order of rows."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self._kept: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._n: list[int] = []

    def add(self, row: int, latents: np.ndarray, values: np.ndarray, patches: np.ndarray) -> None:
        """Add an image.

        Args:
            row: its row.
            latents: (m,) int64, those that fire on it, ascending.
            values: (m,) float32, their largest activations; patches: (m,) int64, where these are.
        """
        best = np.argsort(-values, kind="stable")[:N_STRONGEST]
        self.rows.append(row)
        self._kept.append((latents[best], values[best], patches[best]))
        self._n.append(len(latents))

    def write(self, out: Path, analysis: Analysis, keys: list[str], has_patches: bool) -> None:
        """Write all images, in blocks.

        Args:
            out: folder of the page.
            analysis: whose labels are shown.
            keys: names of all images on the page, for which each must have been added.
            has_patches: whether the stream has patches.
        """
        if len(keys) != len(self.rows):
            raise ValueError(f"{len(self.rows)} of {len(keys)} images were encoded")
        for number, first in enumerate(range(0, len(keys), names.BLOCK)):
            part = slice(first, first + names.BLOCK)
            kept = self._kept[part]
            labels = analysis.labels.take(np.array(self.rows[part], np.int64))
            block: ImageBlock = {
                "labels": [list(of_image.values()) for of_image in labels],
                "latents": [latents.tolist() for latents, _, _ in kept],
                "values": [[rounded(float(v)) for v in values] for _, values, _ in kept],
                "patches": [patches.tolist() if has_patches else [] for _, _, patches in kept],
                "n_latents": self._n[part],
            }
            write_bytes(out / names.image_block(number), script(f"images {number}", block))
