"""One streaming pass over the images of an analysis: what fires on each of them."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from saev.analyze.accumulate import VectorBatch, active, batches, steps
from saev.analyze.artifact import PART
from saev.analyze.inputs import Inputs
from saev.analyze.kept_codes import KeptCodes, PartCodes
from saev.analyze.ordered import in_order, one_thread


class Firing(NamedTuple):
    """What fires on the images of a step. Whole images are in one step."""

    rows: np.ndarray
    """(r,) int64 row ids, ascending."""
    n_patches: int
    """Vectors of an image."""
    image: np.ndarray
    """(m,) int64 index into ``rows``, ascending."""
    patch: np.ndarray
    """(m,) int64 vector of the image, ascending within it."""
    latent: np.ndarray
    """(m,) int64, ascending within a vector."""
    value: np.ndarray
    """(m,) float32, positive."""


class Observer(Protocol):
    """Adds up what a metric needs."""

    def add(self, seen: Firing) -> None:
        """Take the next step, in row order."""


def look(
    inputs: Inputs,
    observers: Sequence[Observer],
    update: Callable[[int], None] = lambda n: None,
    kept: KeptCodes | None = None,
) -> None:
    """Look at all images once, for all ``observers``.

    How images are grouped into steps depends on the stream alone. Each batch is computed by one
    thread, and steps come in row order. So threads and shards change no byte.

    Args:
        inputs: the dictionary, and what it looks at.
        observers: what to give each step to.
        update: called after each step with the number of listed images that it covers.
        kept: codes of this dictionary, which needn't be encoded again.
    """
    n_images = inputs.activations.n_images
    for number, start in enumerate(range(0, n_images, PART)):
        stop, part = min(start + PART, n_images), kept and kept.part(number)
        found = _read(inputs, part, start, stop) if part else _encoded(inputs, start, stop)
        for n, seen in found:
            for observer in observers:
                observer.add(seen)
            update(n)


def _read(inputs: Inputs, part: PartCodes, start: int, stop: int) -> Iterator[tuple[int, Firing]]:
    for first, last in steps(inputs.stream, start, stop):
        low, high = np.searchsorted(part.rows, [first, last])
        if low < high:
            rows = part.rows[low:high]
            yield last - first, _firing(inputs, rows, *part.take(rows))


def _encoded(inputs: Inputs, start: int, stop: int) -> Iterator[tuple[int, Firing]]:
    held: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    on_cpu = inputs.sae.W_dec.device.type == "cpu"

    def work(batch: VectorBatch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return active(inputs.sae, inputs.activations.float32(batch.stored))

    with one_thread() as threads:
        todo = batches(inputs, start, stop)
        for batch, (vector, latent, value) in in_order(work, todo, threads if on_cpu else 1):
            held.append((vector + batch.begin, latent, value))
            if batch.ends_step:
                found = (np.concatenate(part) for part in zip(*held, strict=True))
                held = []
                n = batch.step.last - batch.step.first
                yield n, _firing(inputs, batch.step.rows, *found)


def _firing(
    inputs: Inputs, rows: np.ndarray, vector: np.ndarray, latent: np.ndarray, value: np.ndarray
) -> Firing:
    image, patch = np.divmod(vector, inputs.stream.n_patches)
    return Firing(rows, inputs.stream.n_patches, image, patch, latent, value)


def largest_per_image(seen: Firing, n_latents: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each image and latent that fires on it, the largest value over its patches.

    Returns:
        image and latent (p,) int64, sorted by both, and value (p,) float32.
    """
    key = seen.image * n_latents + seen.latent
    if seen.n_patches == 1:
        return seen.image, seen.latent, seen.value
    order = np.argsort(key, kind="stable")
    distinct, first = np.unique(key[order], return_index=True)
    value = np.maximum.reduceat(seen.value[order], first) if len(first) else seen.value[:0]
    image, latent = np.divmod(distinct, n_latents)
    return image, latent, value
