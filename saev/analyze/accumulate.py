"""One part of the pass: reads its rows of the listing once, and sums up what each latent does."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch

from saev.analyze.counts import Counter
from saev.analyze.histogram import BINS, bin_of
from saev.analyze.inputs import Inputs
from saev.analyze.label_codes import LabelCodes
from saev.analyze.mapped import release
from saev.analyze.ordered import in_order, one_thread
from saev.analyze.reconstruction import SplitSums, contributions
from saev.analyze.top import Top

STEP_VECTORS = 4096
"""Roughly how many vectors are read at once."""
BATCH_VECTORS, BATCH_LATENTS = 2048, 7 << 20
"""Largest number of vectors, and of dense latents (28 MiB of float32), in one product."""
GPU_BATCH_LATENTS = 16 * BATCH_LATENTS
"""The same on a GPU, which would wait for the host between smaller products."""
PADDING = 64
"""Batches are padded with zeros to a multiple of this, so that no product has only a few rows."""


class Totals:
    """Sums over a part, or over all parts in row order.

    Attributes:
        top: the top images; image_count: (n,) int64; histogram: (n, BINS) int64;
        sum_activation: (n,) float64; splits: sums by split; n_rows: number of images seen.
    """

    def __init__(self, n_latents: int, d: int, k: int, splits: tuple[str, ...]) -> None:
        self.top = Top(n_latents, k)
        self.image_count = np.zeros(n_latents, np.int64)
        self.histogram = np.zeros((n_latents, BINS), np.int64)
        self.sum_activation = np.zeros(n_latents)
        self.splits = {name: SplitSums(d) for name in splits}
        self.n_rows = 0

    @property
    def fire_count(self) -> np.ndarray:
        """(n,) int64: on how many vectors each latent fires."""
        return self.histogram.sum(1)

    def add(self, later: "Totals") -> None:
        """Add the sums of a later part of the listing."""
        self.top.absorb(later.top)
        self.image_count += later.image_count
        self.histogram += later.histogram
        self.sum_activation += later.sum_activation
        for name, sums in later.splits.items():
            self.splits[name].add(sums)
        self.n_rows += later.n_rows

    def arrays(self) -> dict[str, np.ndarray]:
        """All sums as arrays, for a file."""
        arrays: dict[str, np.ndarray] = {
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


def power_of_two(at_most: int) -> int:
    """The largest power of two up to ``at_most``; 1 if ``at_most`` is below 2."""
    return 1 << max(0, at_most.bit_length() - 1)


def batch_vectors(n_latents: int, device: torch.device) -> int:
    """How many vectors a dictionary of ``n_latents`` encodes at once: a multiple of `PADDING`."""
    most = BATCH_LATENTS if device.type == "cpu" else GPU_BATCH_LATENTS
    return max(PADDING, min(BATCH_VECTORS, power_of_two(most // n_latents)))


class Step(NamedTuple):
    """Images that are read at once."""

    first: int
    """Where they start in the listing."""
    last: int
    """Where they end."""
    rows: np.ndarray
    """(r,) int64 row ids of those that have activations."""
    members: dict[str, np.ndarray]
    """(r,) bool by split: which images belong to it."""


class VectorBatch(NamedTuple):
    """Vectors that are encoded at once."""

    step: Step
    """Their images."""
    begin: int
    """Position of the first one among the step's vectors."""
    stored: np.ndarray
    """(b, d) as stored."""
    ends_step: bool
    """Whether these are the last vectors of the step."""


class Fired(NamedTuple):
    """What fires in a batch. Doesn't depend on other batches."""

    vector: np.ndarray
    """(m,) int64 position in the batch, ascending."""
    latent: np.ndarray
    """(m,) int64."""
    value: np.ndarray
    """(m,) float32, positive."""
    bins: np.ndarray
    """(m,) int64 bin of the value."""
    n_active: np.ndarray
    """(b,) int64."""
    table: np.ndarray
    """(b, len(SplitSums.NAMES)) float64: what each vector adds to the sums."""
    centred: dict[str, np.ndarray]
    """(d,) float64 by split: sum of u - centre."""


def accumulate(
    inputs: Inputs,
    k: int,
    start: int,
    stop: int,
    labels: dict[str, LabelCodes],
    counters: dict[str, Counter],
    update: Callable[[int], None] = lambda n: None,
) -> Totals:
    """Look at the images of ``[start, stop)`` once.

    How rows are grouped depends only on the stream and on ``start``, not on shards, threads or
    memory. So none of these can change a byte of the result. Each batch is computed by one thread,
    several batches at once. Their results are added in row order.

    Args:
        inputs: the dictionary, and what it looks at.
        k: how many top images to keep for each latent.
        start, stop: range of the listing; ``start`` is a multiple of the part's size.
        labels: labels of the range; counters: count them, by label name.
        update: called after each step with the number of images it read.
    """
    names = tuple(inputs.splits(np.empty(0, np.int64)))
    totals = Totals(inputs.sae.n_latents, inputs.sae.d, k, names)
    centre = inputs.centre()
    on_cpu = centre.device.type == "cpu"
    pairs: list[np.ndarray] = []
    with one_thread() as threads:
        work = in_order(
            lambda batch: look(inputs, centre, batch),
            batches(inputs, start, stop),
            threads if on_cpu else 1,
        )
        for batch, fired in work:
            pairs.append(add_batch(totals, inputs, batch, fired))
            if not batch.ends_step:
                continue
            image, latent = distinct_pairs(pairs, inputs)
            pairs = []
            np.add.at(totals.image_count, latent, 1)
            for name, counter in counters.items():
                counter.add(latent, labels[name].codes[batch.step.rows[image] - start])
            update(batch.step.last - batch.step.first)
    totals.top.flush()
    return totals


def batches(inputs: Inputs, start: int, stop: int) -> Iterator[VectorBatch]:
    """Read ``[start, stop)`` of the listing batch by batch.

    Images without activations are left out.
    """
    step = power_of_two(STEP_VECTORS // inputs.stream.n_patches)
    size = batch_vectors(inputs.sae.n_latents, inputs.sae.W_dec.device)
    for first in range(start, stop, step):
        last = min(first + step, stop)
        rows, values = inputs.activations.read(inputs.stream, first, last)
        vectors = values.reshape(-1, values.shape[-1])
        here = Step(first, last, rows, inputs.splits(rows))
        for begin in range(0, len(vectors), size):
            end = begin + size
            yield VectorBatch(here, begin, vectors[begin:end], end >= len(vectors))
        release(values)


def padded(vectors: np.ndarray) -> torch.Tensor:
    """Vectors (b, d) float32, padded with zeros to a multiple of `PADDING`."""
    filled = np.zeros((-(-len(vectors) // PADDING) * PADDING, vectors.shape[1]), np.float32)
    filled[: len(vectors)] = vectors
    return torch.from_numpy(filled)


def look(inputs: Inputs, centre: torch.Tensor, batch: VectorBatch) -> Fired:
    """Encode and reconstruct a batch.

    Args:
        inputs: the dictionary; centre: (d,) float32 near the vectors' mean, in the SAE's space.
    """
    sae, n = inputs.sae, len(batch.stored)
    x = padded(inputs.activations.float32(batch.stored)).to(centre.device)
    active = sae.active(x)
    reconstruction = sae.decode_active_normalised(*active, len(x))[:n]
    vector, latent, value = (part.cpu().numpy() for part in active)
    real = np.searchsorted(vector, n)
    vector, latent, value = vector[:real], latent[:real], value[:real]
    if real and not value.min() > 0:
        raise ValueError("an activation isn't positive: the dictionary is broken")
    u = sae.normalise(x[:n])
    centred = u - centre
    l1 = np.bincount(vector, weights=value, minlength=n)
    sums = {}
    for name, member in batch.step.members.items():
        mask = member[_images(inputs, batch)]
        weights = torch.as_tensor(mask, dtype=torch.float32, device=x.device)
        sums[name] = (weights @ centred).double().cpu().numpy()
    return Fired(
        vector,
        latent,
        value,
        bin_of(value),
        np.bincount(vector, minlength=n),
        contributions(u, reconstruction, l1, sae.norm_scale, centred),
        sums,
    )


def _images(inputs: Inputs, batch: VectorBatch) -> np.ndarray:
    """The image of each vector of the batch, as an index into the step's images: (b,) int64."""
    return np.arange(batch.begin, batch.begin + len(batch.stored)) // inputs.stream.n_patches


def add_batch(totals: Totals, inputs: Inputs, batch: VectorBatch, fired: Fired) -> np.ndarray:
    """Add what fired in a batch. Batches must come in row order.

    Returns:
        (m,) int64: ``image * n_latents + latent`` for everything that fires. ``image`` is an index
        into the step's images.
    """
    _, latent, value, bins, n_active, table, centred = fired
    np.add.at(totals.histogram.reshape(-1), latent * BINS + bins, 1)
    np.add.at(totals.sum_activation, latent, value.astype(np.float64))
    image = _images(inputs, batch)
    if batch.begin == 0:
        totals.n_rows += len(batch.step.rows)
    for name, member in batch.step.members.items():
        sums, mask = totals.splits[name], member[image]
        if batch.begin == 0:
            sums.counts[0] += member.sum()
        sums.counts[1:] += mask.sum(), n_active[mask].sum()
        sums.sums += table[mask].sum(0)
        sums.vector += centred[name]
    hit = totals.top.candidates(latent, value)
    vector = fired.vector[hit] + batch.begin
    n_patches = inputs.stream.n_patches
    patches = vector % n_patches if inputs.stream.kind == "patches" else np.full_like(vector, -1)
    rows = batch.step.rows[vector // n_patches]
    totals.top.add(latent[hit], value[hit], rows, patches, batch.ends_step)
    return image[fired.vector] * totals.top.n_latents + latent


def distinct_pairs(pairs: list[np.ndarray], inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """Images (as indices into the step's) and the latents that fire on them, each pair once.

    Both are (m,) int64.
    """
    keys = np.concatenate(pairs)
    if inputs.stream.n_patches > 1 and len(keys):
        keys = np.sort(keys)
        keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]
    image, latent = np.divmod(keys, inputs.sae.n_latents)
    return image, latent
