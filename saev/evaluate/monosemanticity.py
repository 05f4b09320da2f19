"""Monosemanticity: how alike the images are on which a latent fires.

The mean cosine of pairs of image embeddings, weighted by the product of both activations, which are
scaled to 0 … 1 over all N images (Pach et al. 2025, Sparse autoencoders learn monosemantic features
in vision-language models, equation 9). No pair needs to be formed. With unit embeddings e_i,
activations a_i, m = min_i a_i, S = Σ a_i e_i, E = Σ e_i, T = Σ a_i, Q = Σ a_i² and
Q' = Q − 2mT + Nm²::

    MS = (‖S − mE‖² − Q') / ((T − Nm)² − Q')

An image counts with its largest activation over its patches, and with 0 where the latent doesn't
fire. Embeddings should come from something else than the dictionary sees.
"""

from typing import NamedTuple

import numpy as np
import torch

from saev.activations.artifact import Stream
from saev.analyze.inputs import Inputs
from saev.core.errors import UserError
from saev.evaluate.firing import Firing, largest_per_image
from saev.evaluate.results import Figure, Measured, Results, mean_of
from saev.evaluate.untrained import UNTRAINED

RAW = "raw_dimensions"
ALL = "all_images"
"""What a latent has that fires on all images alike: the mean cosine of all pairs."""


class ImageSums(NamedTuple):
    """Sums over images, for f features."""

    weighted: np.ndarray
    """S, (f, d) float64."""
    total: np.ndarray
    """T, (f,) float64."""
    squares: np.ndarray
    """Q, (f,) float64."""
    least: np.ndarray
    """m, (f,) float64."""
    n_fired: np.ndarray
    """(f,) int64, images on which it isn't 0."""


def monosemanticity(moments: ImageSums, embeddings: np.ndarray, n_images: int) -> np.ndarray:
    """MS of each feature: (f,) float64; NaN if it fires on fewer than two images, or alike on all.

    Args:
        embeddings: E, (d,) float64; n_images: N.
    """
    m, total = moments.least, moments.total
    shifted = moments.weighted - m[:, None] * embeddings
    own = moments.squares - 2 * m * total + n_images * m * m
    mass = total - n_images * m
    pairs = mass * mass - own
    # A remainder of rounding isn't a pair.
    defined = (moments.n_fired >= 2) & (pairs > 1e-12 * np.maximum(mass * mass, total * total))
    found = np.full(len(m), np.nan)
    lengths = np.einsum("fd,fd->f", shifted, shifted, optimize=False)
    found[defined] = (lengths[defined] - own[defined]) / pairs[defined]
    return found


class Embedded:
    """Adds up what `monosemanticity` needs of latents: see `Observer`.

    Args:
        inputs: what is looked at; stream: the embeddings.
        n_latents: number of latents.
        raw: whether to do the same for the raw dimensions of the vectors.
    """

    def __init__(self, inputs: Inputs, stream: Stream, n_latents: int, raw: bool) -> None:
        self.inputs, self.stream, self.raw = inputs, stream, raw
        self.latents = _empty(n_latents, stream.d, 0.0)
        self.dimensions = _empty(inputs.stream.d if raw else 0, stream.d, np.inf)
        self.fired_least = np.full(n_latents, np.inf)
        self.sum = np.zeros(stream.d)
        self.n_images = 0

    def add(self, firing: Firing) -> None:
        """Take a step."""
        if not len(firing.rows):
            return
        unit = self._unit(firing.rows)
        self.n_images += len(unit)
        self.sum += unit.sum(0)
        self._add_latents(firing, unit)
        if self.raw:
            self._add_dimensions(firing.rows, unit)

    def _unit(self, rows: np.ndarray) -> np.ndarray:
        """Embeddings (r, d) float64 of norm 1; 0 where there is none to scale."""
        reader = self.inputs.activations
        e = reader.float32(reader.take(self.stream, rows))[:, 0].astype(np.float64)
        norm = np.sqrt(np.einsum("rd,rd->r", e, e, optimize=False))[:, None]
        return np.divide(e, norm, out=np.zeros_like(e), where=norm > 0)

    def _add_latents(self, firing: Firing, unit: np.ndarray) -> None:
        from scipy.sparse import csr_array

        sums = self.latents
        image, latent, value = largest_per_image(firing, len(sums.total))
        here, place = np.unique(latent, return_inverse=True)
        a = value.astype(np.float64)
        sums.weighted[here] += csr_array((a, (place, image)), shape=(len(here), len(unit))) @ unit
        np.add.at(sums.total, latent, a)
        np.add.at(sums.squares, latent, a * a)
        np.add.at(sums.n_fired, latent, 1)
        # The least so far of those that have fired on every image, and 0 of others.
        np.minimum.at(self.fired_least, latent, a)
        every = sums.n_fired == self.n_images
        sums.least[:] = np.where(every, self.fired_least, 0)

    def _add_dimensions(self, rows: np.ndarray, unit: np.ndarray) -> None:
        reader, sums = self.inputs.activations, self.dimensions
        a = reader.float32(reader.take(self.inputs.stream, rows)).max(1).astype(np.float64)
        product = torch.from_numpy(a).T @ torch.from_numpy(unit)
        sums.weighted[:] += product.numpy()
        sums.total[:] += a.sum(0)
        sums.squares[:] += (a * a).sum(0)
        sums.n_fired[:] += (a != 0).sum(0)
        sums.least[:] = np.minimum(sums.least, a.min(0))

    def found(self) -> np.ndarray:
        """MS of each latent: (n,) float64."""
        return monosemanticity(self.latents, self.sum, self.n_images)

    def found_of_dimensions(self) -> np.ndarray:
        """MS of each raw dimension: (d,) float64."""
        return monosemanticity(self.dimensions, self.sum, self.n_images)

    def of_all(self) -> float | None:
        """Mean cosine of all pairs of images."""
        n = self.n_images
        return (float(self.sum @ self.sum) - n) / (n * n - n) if n > 1 else None


def _empty(f: int, d: int, least: float) -> ImageSums:
    return ImageSums(
        np.zeros((f, d)), np.zeros(f), np.zeros(f), np.full(f, least), np.zeros(f, np.int64)
    )


def embeddings_of(inputs: Inputs, name: str) -> Stream:
    """The stream ``name`` of the recording.

    Raises:
        UserError: it wasn't recorded, or the dictionary was trained on it.
    """
    stream = inputs.activations.streams.get(name)
    if stream is None:
        raise UserError(
            f"monosemanticity: {inputs.activations.path} holds no {name}; it holds: "
            f"{', '.join(inputs.activations.streams)}"
        )
    if name == inputs.stream.name:
        raise UserError(
            f"monosemanticity: the dictionary was trained on {name}, so its latents would be "
            f"judged by what they were made from: name another stream"
        )
    return stream


def results(ours: Embedded, untrained: Embedded, seed: int) -> Results:
    """The figure and the column.

    Args:
        ours: what the dictionary's latents have added up; untrained: those of the baseline.
    """
    found = ours.found()
    figure = Figure(
        "monosemanticity",
        "mean",
        mean_of(found, seed),
        int((~np.isnan(found)).sum()),
        "latents",
        {
            UNTRAINED: mean_of(untrained.found(), seed),
            RAW: mean_of(ours.found_of_dimensions(), seed),
            ALL: Measured(ours.of_all()),
        },
        why="nothing fires on two images, and not on all alike",
        note=f"by {ours.stream.name} of the same tower, which knows what the dictionary sees",
    )
    return Results([figure], {"monosemanticity": found})
