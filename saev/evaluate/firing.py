"""One streaming pass over the images of an analysis: what fires on each of them."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from saev.analyze.accumulate import Step, VectorBatch, batches, padded
from saev.analyze.inputs import Inputs
from saev.analyze.ordered import in_order, one_thread
from saev.sae import Sae


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
    inputs: Inputs, observers: Sequence[Observer], update: Callable[[int], None] = lambda n: None
) -> None:
    """Look at all images once, for all ``observers``.

    How images are grouped into steps depends on the stream alone. Each batch is computed by one
    thread, and steps come in row order. So threads and shards change no byte.

    Args:
        inputs: the dictionary, and what it looks at.
        observers: what to give each step to.
        update: called after each step with the number of listed images that it covers.
    """
    for step, seen in _steps(inputs):
        for observer in observers:
            observer.add(seen)
        update(step.last - step.first)


def _steps(inputs: Inputs) -> Iterator[tuple[Step, Firing]]:
    held: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    on_cpu = inputs.sae.W_dec.device.type == "cpu"
    n_patches = inputs.stream.n_patches

    def work(batch: VectorBatch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return active(inputs.sae, inputs.activations.float32(batch.stored))

    with one_thread() as threads:
        todo = batches(inputs, 0, inputs.activations.n_images)
        for batch, (vector, latent, value) in in_order(work, todo, threads if on_cpu else 1):
            held.append((vector + batch.begin, latent, value))
            if batch.ends_step:
                vector, latent, value = (np.concatenate(part) for part in zip(*held, strict=True))
                held = []
                image, patch = np.divmod(vector, n_patches)
                yield batch.step, Firing(batch.step.rows, n_patches, image, patch, latent, value)


def active(sae: Sae, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What fires on vectors (b, d) float32: vector, latent (m,) int64 and value (m,) float32.

    Sorted by vector, then latent. The bits of a vector don't depend on the others.
    """
    found = sae.active(padded(vectors).to(sae.W_dec.device))
    vector, latent, value = (part.detach().cpu().numpy() for part in found)
    real = int(np.searchsorted(vector, len(vectors)))
    return vector[:real], latent[:real], value[:real]


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
