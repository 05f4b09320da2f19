"""What a probe may choose from: a number for each image and each of many directions.

An image counts with its largest value over its patches.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from saev.analyze.accumulate import STEP_VECTORS, active, batch_vectors
from saev.analyze.baseline import Pca
from saev.analyze.inputs import Inputs
from saev.analyze.ordered import in_order, one_thread
from saev.core.progress import Progress
from saev.sae import Sae

CLASSES_AT_ONCE = 32
"""Classes whose sums over features are in memory at once."""


class Features(Protocol):
    """Values of b images for f features."""

    def sums(self, members: np.ndarray) -> np.ndarray:
        """Sums over the images of each class. Given (b, c) bool; returns (f, c) float64."""

    def take(self, chosen: np.ndarray) -> np.ndarray:
        """Values of the features ``chosen`` (k,): (b, k) float64."""


class Sparse:
    """Features that are 0 for most images.

    Args:
        image, feature: (m,) int64; value: (m,) float32; shape: number of images and of features.
    """

    def __init__(
        self, image: np.ndarray, feature: np.ndarray, value: np.ndarray, shape: tuple[int, int]
    ) -> None:
        from scipy.sparse import csc_array

        # Features as columns, so that those chosen are found at once.
        self.values: Any = csc_array((value.astype(np.float64), (image, feature)), shape=shape)

    @classmethod
    def of(cls, values: Any) -> "Sparse":
        """Features from a sparse matrix by column, (images, features)."""
        made = cls.__new__(cls)
        made.values = values
        return made

    def sums(self, members: np.ndarray) -> np.ndarray:
        """See `Features`."""
        found: np.ndarray = self.values.T @ members.astype(np.float64)
        return found

    def take(self, chosen: np.ndarray) -> np.ndarray:
        """See `Features`."""
        found: np.ndarray = self.values[:, chosen].toarray()
        return found


class Dense:
    """Features with a value for every image: (b, f) float32. Scaled by what `scale` says."""

    def __init__(self, values: np.ndarray, scale: np.ndarray) -> None:
        self.values, self.scale = values, scale

    def sums(self, members: np.ndarray) -> np.ndarray:
        """See `Features`."""
        with one_thread():
            member = torch.from_numpy(members.astype(np.float64))
            found = torch.from_numpy(self.values).double().T @ member
        return found.numpy() / self.scale[:, None]

    def take(self, chosen: np.ndarray) -> np.ndarray:
        """See `Features`."""
        return self.values[:, chosen] / self.scale[chosen]


class Chunk(NamedTuple):
    """Images that are read at once."""

    first: int
    """Position of the first one."""
    n: int
    vectors: np.ndarray
    """(n · patches, d) float32."""


def _chunks(inputs: Inputs, rows: np.ndarray, what: str) -> Iterator[Chunk]:
    """Vectors of images ``rows`` (b,), ascending."""
    size = max(1, STEP_VECTORS // inputs.stream.n_patches)
    progress = Progress(len(rows), "images", what)
    for first in range(0, len(rows), size):
        here = rows[first : first + size]
        values = inputs.activations.float32(inputs.activations.take(inputs.stream, here))
        yield Chunk(first, len(here), values.reshape(-1, inputs.stream.d))
        progress.update(len(here))


Pool = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]
"""Distinct keys, ascending, and what becomes of the values of each. The number is of an image's
vectors."""


def largest(keys: np.ndarray, values: np.ndarray, _: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest value of each key."""
    return _pooled(keys, values, np.maximum)


def mean_of_patches(
    keys: np.ndarray, values: np.ndarray, n_patches: int
) -> tuple[np.ndarray, np.ndarray]:
    """The sum of the values of each key, divided by the number of vectors."""
    distinct, total = _pooled(keys, values.astype(np.float64), np.add)
    return distinct, total / n_patches


def _pooled(
    keys: np.ndarray, values: np.ndarray, combine: np.ufunc
) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(keys, kind="stable")
    distinct, first = np.unique(keys[order], return_index=True)
    return distinct, combine.reduceat(values[order], first) if len(first) else values


def latents(inputs: Inputs, sae: Sae, rows: np.ndarray, pool: Pool = largest) -> Sparse:
    """The latents of ``sae`` on images ``rows`` (b,), ascending.

    Args:
        pool: what an image counts with.
    """
    n_patches, n = inputs.stream.n_patches, sae.n_latents

    def look(chunk: Chunk) -> tuple[np.ndarray, np.ndarray]:
        size = batch_vectors(n, sae.W_dec.device)
        keys, values = [], []
        for start in range(0, len(chunk.vectors), size):
            vector, latent, value = active(sae, chunk.vectors[start : start + size])
            keys.append((chunk.first + (start + vector) // n_patches) * n + latent)
            values.append(value)
        return pool(np.concatenate(keys), np.concatenate(values), n_patches)

    found = _over(inputs, rows, look, "encoding")
    keys, values = (np.concatenate(part) for part in zip(*found, strict=True))
    image, latent = np.divmod(keys, n)
    return Sparse(image, latent, values, (len(rows), n))


def dimensions(inputs: Inputs, rows: np.ndarray) -> np.ndarray:
    """The raw dimensions of images ``rows`` (b,), ascending: (b, d) float32."""

    def look(chunk: Chunk) -> np.ndarray:
        found: np.ndarray = chunk.vectors.reshape(chunk.n, -1, inputs.stream.d).max(1)
        return found

    return np.concatenate(_over(inputs, rows, look, "reading"))


def averages(inputs: Inputs, rows: np.ndarray) -> np.ndarray:
    """The mean vectors of images ``rows`` (b,), in the dictionary's space: (b, d) float32."""

    def look(chunk: Chunk) -> np.ndarray:
        u = inputs.sae.normalise(torch.from_numpy(chunk.vectors).to(inputs.sae.W_dec.device))
        return u.reshape(chunk.n, -1, inputs.stream.d).mean(1).cpu().numpy()

    return np.concatenate(_over(inputs, rows, look, "averaging"))


def components(inputs: Inputs, pca: Pca, rows: np.ndarray) -> np.ndarray:
    """Principal components of images ``rows`` (b,), ascending: (b, d) float32."""
    device = inputs.sae.W_dec.device
    mean, directions = (t.to(device, torch.float32) for t in (pca.mean, pca.directions))

    def look(chunk: Chunk) -> np.ndarray:
        u = inputs.sae.normalise(torch.from_numpy(chunk.vectors).to(device))
        found = ((u - mean) @ directions).reshape(chunk.n, -1, inputs.stream.d).amax(1)
        return found.cpu().numpy()

    return np.concatenate(_over(inputs, rows, look, "projecting"))


def _over(inputs: Inputs, rows: np.ndarray, look: Callable[[Chunk], Any], what: str) -> list[Any]:
    """What ``look`` makes of each chunk, in order. One thread computes a chunk."""
    with one_thread() as threads:
        on_cpu = inputs.sae.W_dec.device.type == "cpu"
        work = in_order(look, _chunks(inputs, rows, what), threads if on_cpu else 1)
        return [found for _, found in work]
