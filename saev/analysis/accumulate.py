"""One part of the pass: reads its rows of the listing once, and sums up what each latent does there."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from saev.analysis.counts import Counter
from saev.analysis.histogram import BINS, bin_of
from saev.analysis.inputs import Inputs
from saev.analysis.reconstruction import Sums, add_vectors
from saev.analysis.top import Top
from saev.artifacts.analysis import PREFIX

STEP_VECTORS = 4096
"""About how many vectors are read at once."""
BATCH_VECTORS, BATCH_LATENTS = 2048, 1 << 25
"""Most vectors, and most dense latents (128 MiB), in one product."""
PADDING = 64
"""Batches are filled up with zeros to a multiple of this, so that no product is of a few rows."""


class Totals:
    """What is summed over a part, and over all parts in row order.

    Attributes:
        top: the top images; image_count: (n,) int64; histogram: (n, BINS) int64;
        sum_activation: (n,) float64; splits: sums by split; n_rows: images that were there.
    """

    def __init__(self, n_latents: int, d: int, k: int, splits: tuple[str, ...]) -> None:
        self.top = Top(n_latents, k)
        self.image_count = np.zeros(n_latents, np.int64)
        self.histogram = np.zeros((n_latents, BINS), np.int64)
        self.sum_activation = np.zeros(n_latents)
        self.splits = {name: Sums(d) for name in splits}
        self.n_rows = 0

    @property
    def fire_count(self) -> np.ndarray:
        """(n,) int64: vectors on which a latent fires."""
        return self.histogram.sum(1)

    def add(self, later: "Totals") -> None:
        """Add what a later part of the listing has summed."""
        self.top.absorb(later.top)
        self.image_count += later.image_count
        self.histogram += later.histogram
        self.sum_activation += later.sum_activation
        for name, sums in later.splits.items():
            self.splits[name].add(sums)
        self.n_rows += later.n_rows

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as arrays, for a file."""
        arrays = {
            "top_values": self.top.values,
            "top_rows": self.top.rows,
            "top_patches": self.top.patches,
            "image_count": self.image_count,
            "histogram": self.histogram,
            "sum_activation": self.sum_activation,
            "n_rows": np.array([self.n_rows], np.int64),
        }
        for name, sums in self.splits.items():
            for field in ("counts", "sums", "vector"):
                arrays[f"{name}.{field}"] = getattr(sums, field)
        return arrays

    @staticmethod
    def from_arrays(arrays: dict[str, np.ndarray], splits: tuple[str, ...]) -> "Totals":
        """The inverse of `arrays`."""
        n, k = arrays["top_values"].shape
        totals = Totals(n, len(arrays[f"{splits[0]}.vector"]), k, splits)
        totals.top.values = arrays["top_values"]
        totals.top.rows, totals.top.patches = arrays["top_rows"], arrays["top_patches"]
        for field in ("image_count", "histogram", "sum_activation"):
            setattr(totals, field, arrays[field])
        for name, sums in totals.splits.items():
            for field in ("counts", "sums", "vector"):
                setattr(sums, field, arrays[f"{name}.{field}"])
        totals.n_rows = int(arrays["n_rows"][0])
        return totals


class Codes(NamedTuple):
    """One label of the images of a part, as numbers."""

    texts: list[str]
    """The distinct labels, sorted."""
    counts: list[int]
    """On how many images each is."""
    codes: np.ndarray
    """(positions,) int64 index into ``texts``, -1 where there is none."""


def label_codes(inputs: Inputs, start: int, stop: int) -> dict[str, Codes]:
    """Number the labels of the images of ``[start, stop)`` that have activations, by label name."""
    table = inputs.labels.read(start, stop)
    present = (inputs.activations.rows(start, stop) - start).tolist()
    coded = {}
    for name in inputs.labels.names:
        texts = table.column(PREFIX + name).to_pylist()
        distinct = sorted({texts[i] for i in present} - {None})
        numbers = {text: number for number, text in enumerate(distinct)}
        codes = np.full(len(texts), -1, np.int64)
        codes[present] = [numbers.get(texts[i], -1) for i in present]
        counts = np.bincount(codes[codes >= 0], minlength=len(distinct))
        coded[name] = Codes(distinct, counts.tolist(), codes)
    return coded


def power_of_two(at_most: int) -> int:
    """The largest power of two that isn't above ``at_most`` (1 below 2)."""
    return 1 << max(0, at_most.bit_length() - 1)


def accumulate(
    inputs: Inputs,
    k: int,
    start: int,
    stop: int,
    labels: dict[str, Codes],
    counters: dict[str, Counter],
    update: Callable[[int], None] = lambda n: None,
) -> Totals:
    """Look at the images of ``[start, stop)`` once.

    How rows are grouped depends on the stream and on ``start`` alone, never on shards, threads or what
    a machine can hold; so does, therefore, every byte that comes out.

    Args:
        inputs: what to look at and with.
        k: images kept for each latent.
        start, stop: range of the listing; ``start`` is a multiple of the part.
        labels: labels of the range; counters: where they are counted, by label name.
        update: told after each step how many images were read.
    """
    names = tuple(inputs.splits(np.empty(0, np.int64)))
    totals = Totals(inputs.sae.n_latents, inputs.sae.d, k, names)
    step = power_of_two(STEP_VECTORS // inputs.stream.n_patches)
    pass_ = _Pass(inputs, totals)
    for first in range(start, stop, step):
        last = min(first + step, stop)
        rows, values = inputs.activations.read(inputs.stream, first, last)
        if len(rows):
            image, latent = pass_.step(rows, values)
            for name, counter in counters.items():
                counter.add(latent, labels[name].codes[rows[image] - start])
        update(last - first)
    return totals


class _Pass:
    """The work on one step's images; holds what is the same for all steps."""

    def __init__(self, inputs: Inputs, totals: Totals) -> None:
        self.inputs, self.totals = inputs, totals
        self.n_latents, self.n_patches = inputs.sae.n_latents, inputs.stream.n_patches
        self.centre = inputs.centre()
        self.batch = max(PADDING, min(BATCH_VECTORS, power_of_two(BATCH_LATENTS // self.n_latents)))
        self.counts = totals.histogram.reshape(-1)

    def step(self, rows: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Take in all vectors of some images.

        Args:
            rows: (r,) row ids; values: (r, n_patches, d) as stored.

        Returns:
            pairs of image (index into ``rows``) and latent that fires on it, (m,) int64 each, each
            pair once.
        """
        members = self.inputs.splits(rows)
        for name, member in members.items():
            self.totals.splits[name].counts[0] += member.sum()
        self.totals.n_rows += len(rows)
        vectors = values.reshape(-1, values.shape[-1])
        pairs, kept = [], []
        for first in range(0, len(vectors), self.batch):
            piece = vectors[first : first + self.batch]
            image = np.arange(first, first + len(piece)) // self.n_patches
            vector, latent, value = self._batch(
                piece, {name: member[image] for name, member in members.items()}
            )
            pairs.append(image[vector] * self.n_latents + latent)
            hit = self.totals.top.candidates(latent, value)
            kept.append((latent[hit], value[hit], vector[hit] + first))
        latent, value, vector = (np.concatenate(c) for c in zip(*kept, strict=True))
        patches = (
            vector % self.n_patches if self.inputs.stream.kind == "patches" else vector * 0 - 1
        )
        self.totals.top.add(latent, value, rows[vector // self.n_patches], patches)
        keys = np.concatenate(pairs)
        if self.n_patches > 1:
            keys = np.sort(keys)
            keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])] if len(keys) else keys
        image, latent = np.divmod(keys, self.n_latents)
        np.add.at(self.totals.image_count, latent, 1)
        return image, latent

    def _batch(
        self, stored: np.ndarray, members: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Encode vectors (b, d); return what fires as vector, latent (m,) int64 and value (m,) float32."""
        sae, n = self.inputs.sae, len(stored)
        padded = np.zeros((-(-n // PADDING) * PADDING, stored.shape[1]), np.float32)
        padded[:n] = self.inputs.activations.float32(stored)
        x = torch.from_numpy(padded).to(sae.W_dec.device)
        active = sae.active(x)
        reconstruction = sae.decode_active_normalised(*active, len(x))[:n]
        vector, latent, value = (part.cpu().numpy() for part in active)
        real = np.searchsorted(vector, n)
        vector, latent, value = vector[:real], latent[:real], value[:real]
        if real and not value.min() > 0:
            raise ValueError("an activation isn't positive: the dictionary is broken")
        double = value.astype(np.float64)
        np.add.at(self.counts, latent * BINS + bin_of(value), 1)
        np.add.at(self.totals.sum_activation, latent, double)
        add_vectors(
            self.totals.splits,
            members,
            sae.normalise(x[:n]),
            reconstruction,
            np.bincount(vector, minlength=n),
            np.bincount(vector, weights=double, minlength=n),
            sae.norm_scale,
            self.centre,
        )
        return vector, latent, value
