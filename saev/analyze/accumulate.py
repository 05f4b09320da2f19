"""One part of the pass: reads its rows of the listing once, and sums up what each latent does."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch

from saev.activations.artifact import Stream
from saev.analyze.cells import Cells
from saev.analyze.counts import Counter
from saev.analyze.histogram import BINS, bin_of
from saev.analyze.inputs import Inputs
from saev.analyze.kept_codes import CodesWriter
from saev.analyze.label_codes import LabelCodes
from saev.analyze.mapped import release
from saev.analyze.ordered import in_order, one_thread
from saev.analyze.reconstruction import contributions
from saev.analyze.top import largest_patches
from saev.analyze.totals import Totals
from saev.sae import Sae

STEP_VECTORS = 4096
"""Roughly how many vectors are read at once."""
BATCH_VECTORS, BATCH_LATENTS = 2048, 7 << 20
"""Largest number of vectors, and of dense latents (28 MiB of float32), in one product."""
GPU_BATCH_LATENTS = 16 * BATCH_LATENTS
"""The same on a GPU, which would wait for the host between smaller products."""
PADDING = 64
"""Batches are padded with zeros to a multiple of this, so that no product has only a few rows."""


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
    codes: CodesWriter,
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
        codes: keeps what fires.
        update: called after each step with the number of images it read.
    """
    names = tuple(inputs.splits(np.empty(0, np.int64)))
    cells = inputs.cells()
    totals = Totals(inputs.sae.n_latents, inputs.sae.d, k, cells.n, names)
    centre = inputs.centre()
    on_cpu = centre.device.type == "cpu"
    found: list[Firings] = []
    with one_thread() as threads:
        work = in_order(
            lambda batch: look(inputs, centre, batch),
            batches(inputs, start, stop),
            threads if on_cpu else 1,
        )
        for batch, fired in work:
            found.append(add_batch(totals, inputs, cells, batch, fired))
            codes.add(fired.n_active, fired.latent, fired.value)
            if not batch.ends_step:
                continue
            rows, latent, value = add_images(totals, batch.step, found)
            found = []
            for name, counter in counters.items():
                counter.add(latent, labels[name].codes[rows - start], value)
            update(batch.step.last - batch.step.first)
    for name in totals.KEPT:
        getattr(totals, name).flush()
    return totals


def steps(stream: Stream, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Divide ``[start, stop)`` of the listing into ranges of images that are read at once."""
    step = power_of_two(STEP_VECTORS // stream.n_patches)
    for first in range(start, stop, step):
        yield first, min(first + step, stop)


def batches(inputs: Inputs, start: int, stop: int) -> Iterator[VectorBatch]:
    """Read ``[start, stop)`` of the listing batch by batch.

    Images without activations are left out.
    """
    size = batch_vectors(inputs.sae.n_latents, inputs.sae.W_dec.device)
    for first, last in steps(inputs.stream, start, stop):
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


def active(sae: Sae, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What fires on vectors (b, d) float32: vector, latent (m,) int64 and value (m,) float32.

    Sorted by vector, then latent. The bits of a vector don't depend on the others.
    """
    found = sae.active(padded(vectors).to(sae.W_dec.device))
    vector, latent, value = (part.detach().cpu().numpy() for part in found)
    real = int(np.searchsorted(vector, len(vectors)))
    return vector[:real], latent[:real], value[:real]


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


class Firings(NamedTuple):
    """What fires in some of a step's vectors."""

    keys: np.ndarray
    """(m,) int64: ``image * n_latents + latent``. ``image`` is an index into the step's images."""
    values: np.ndarray
    """(m,) float32."""
    patches: np.ndarray
    """(m,) int32: the patch; -1 where vectors are no patches."""


def add_batch(
    totals: Totals, inputs: Inputs, cells: Cells, batch: VectorBatch, fired: Fired
) -> Firings:
    """Add what fired in a batch. Batches must come in row order."""
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
    patches = np.full(len(latent), -1, np.int32)
    if cells.n:
        patches[:] = (fired.vector + batch.begin) % inputs.stream.n_patches
        np.add.at(totals.positions.reshape(-1), latent * cells.n + cells.cell_of[patches], 1)
    keys = image[fired.vector] * totals.top.n_latents + latent
    return Firings(keys, value, patches)


def add_images(
    totals: Totals, step: Step, found: list[Firings]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Add the images of a step, whose vectors have all been added.

    Returns:
        rows (m,) int64 and the latents (m,) int64 that fire on them, each pair once, with the
        largest activations (m,) float32.
    """
    columns = (np.concatenate(column) for column in zip(*found, strict=True))
    keys, values, patches = largest_patches(*columns)
    image, latent = np.divmod(keys, totals.top.n_latents)
    rows = step.rows[image]
    np.add.at(totals.image_count, latent, 1)
    for name in totals.KEPT:
        getattr(totals, name).add(latent, values, rows, patches)
    return rows, latent, values
