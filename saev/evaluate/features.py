"""What a probe may choose from: a number for each image and each of many directions.

An image counts with its largest value over its patches.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import torch

from saev.analyze.accumulate import STEP_VECTORS, active, batch_vectors
from saev.analyze.baseline import Pca
from saev.analyze.inputs import Inputs
from saev.analyze.ordered import in_order, one_thread
from saev.core.progress import Progress
from saev.evaluate.on_disk import OnDisk
from saev.sae import Sae

Made = TypeVar("Made")

CLASSES_AT_ONCE = 32
"""Classes whose sums over features are in memory at once."""
ENTRIES = 1 << 20
"""Values of features that are in memory at once."""


class Features(Protocol):
    """Values of b images for f features."""

    def sums(self, members: np.ndarray) -> np.ndarray:
        """Sums over the images of each class. Given (b, c) bool; returns (f, c) float64."""

    def take(self, chosen: np.ndarray) -> np.ndarray:
        """Values of the features ``chosen`` (k,): (b, k) float64."""


class Sparse:
    """Features that are 0 for most images. They lie on disk, and are read block by block.

    Args:
        folder: where; n_features: f.
    """

    def __init__(self, folder: Path, n_features: int) -> None:
        self.n_features = n_features
        self._feature, self._value = OnDisk(folder, np.int32), OnDisk(folder, np.float64)
        self._lengths: list[np.ndarray] = []

    def add(self, n: int, image: np.ndarray, feature: np.ndarray, value: np.ndarray) -> None:
        """Add ``n`` images: which ``feature`` (m,) of which ``image`` (m,), ascending from 0."""
        self._lengths.append(np.bincount(image, minlength=n))
        self._feature.add(feature)
        self._value.add(value)

    def blocks(self, images: np.ndarray | None = None) -> Iterator[tuple[np.ndarray, Any]]:
        """The values of some images, or of all, as many at once as fit into memory.

        Args:
            images: (m,) int64, their positions.

        Yields:
            positions (i,) int64, and a sparse matrix by row (i, f) float64.
        """
        from scipy.sparse import csr_array

        lengths = np.concatenate([*self._lengths, np.zeros(0, np.int64)])
        starts = np.cumsum(lengths) - lengths
        images = np.arange(len(lengths)) if images is None else images
        ends = np.cumsum(lengths[images])
        first = 0
        while first < len(images):
            before = ends[first - 1] if first else 0
            last = max(first + 1, int(np.searchsorted(ends, before + ENTRIES, side="right")))
            here = images[first:last]
            pointer = np.concatenate([[0], np.cumsum(lengths[here])])
            at = np.arange(pointer[-1]) + np.repeat(starts[here] - pointer[:-1], lengths[here])
            entries = self._value.array()[at], self._feature.array()[at], pointer
            yield here, csr_array(entries, shape=(len(here), self.n_features))
            self._value.release()
            self._feature.release()
            first = last

    def sums(self, members: np.ndarray) -> np.ndarray:
        """See `Features`."""
        found = np.zeros((self.n_features, members.shape[1]))
        for images, values in self.blocks():
            found += values.T @ members[images].astype(np.float64)
        return found

    def take(self, chosen: np.ndarray) -> np.ndarray:
        """See `Features`."""
        return np.concatenate([values[:, chosen].toarray() for _, values in self.blocks()])


class Dense:
    """Features with a value for every image. They lie on disk, and are read block by block.

    Args:
        folder: where; n_features: f.

    Attributes:
        scale: (f,), what values are divided by.
    """

    def __init__(self, folder: Path, n_features: int) -> None:
        self.n_features, self.scale = n_features, np.ones(n_features)
        self._values = OnDisk(folder, np.float32)

    def add(self, values: np.ndarray) -> None:
        """Add images, (b, f) float32."""
        self._values.add(values)

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Which images, and their values (i, f) float64."""
        values = self._values.array().reshape(-1, self.n_features)
        size = max(1, ENTRIES // self.n_features)
        for start in range(0, len(values), size):
            here = slice(start, start + size)
            yield here, values[here].astype(np.float64) / self.scale
            self._values.release()

    def std(self) -> np.ndarray:
        """The standard deviation of each feature: (f,) float64."""
        n = self._values.n // self.n_features
        mean = sum(values.sum(0) for _, values in self.blocks()) / n
        squares = sum(((values - mean) ** 2).sum(0) for _, values in self.blocks())
        return np.sqrt(squares / n)

    def sums(self, members: np.ndarray) -> np.ndarray:
        """See `Features`."""
        found = np.zeros((self.n_features, members.shape[1]))
        with one_thread():
            for images, values in self.blocks():
                member = torch.from_numpy(members[images].astype(np.float64))
                found += (torch.from_numpy(values).T @ member).numpy()
        return found

    def take(self, chosen: np.ndarray) -> np.ndarray:
        """See `Features`."""
        return np.concatenate([values[:, chosen] for _, values in self.blocks()])


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


def latents(
    inputs: Inputs, sae: Sae, rows: np.ndarray, folder: Path, pool: Pool = largest
) -> Sparse:
    """The latents of ``sae`` on images ``rows`` (b,), ascending.

    Args:
        folder: where they are put; pool: what an image counts with.
    """
    n_patches, n = inputs.stream.n_patches, sae.n_latents

    def look(chunk: Chunk) -> tuple[int, np.ndarray, np.ndarray]:
        size = batch_vectors(n, sae.W_dec.device)
        keys, values = [], []
        for start in range(0, len(chunk.vectors), size):
            vector, latent, value = active(sae, chunk.vectors[start : start + size])
            keys.append((start + vector) // n_patches * n + latent)
            values.append(value)
        return chunk.n, *pool(np.concatenate(keys), np.concatenate(values), n_patches)

    made = Sparse(folder, n)
    for n_images, keys, values in over(inputs, rows, look, "encoding"):
        image, latent = np.divmod(keys, n)
        made.add(n_images, image, latent, values)
    return made


def dimensions(inputs: Inputs, rows: np.ndarray, folder: Path) -> Dense:
    """The raw dimensions of images ``rows`` (b,), ascending, put into ``folder``."""

    def look(chunk: Chunk) -> np.ndarray:
        found: np.ndarray = chunk.vectors.reshape(chunk.n, -1, inputs.stream.d).max(1)
        return found

    return _dense(inputs, rows, folder, look, "reading")


def components(inputs: Inputs, pca: Pca, rows: np.ndarray, folder: Path) -> Dense:
    """Principal components of images ``rows`` (b,), ascending, put into ``folder``."""
    device = inputs.sae.W_dec.device
    mean, directions = (t.to(device, torch.float32) for t in (pca.mean, pca.directions))

    def look(chunk: Chunk) -> np.ndarray:
        u = inputs.sae.normalise(torch.from_numpy(chunk.vectors).to(device))
        found = ((u - mean) @ directions).reshape(chunk.n, -1, inputs.stream.d).amax(1)
        return found.cpu().numpy()

    return _dense(inputs, rows, folder, look, "projecting")


def averages(inputs: Inputs, rows: np.ndarray) -> np.ndarray:
    """The mean vectors of images ``rows`` (b,), in the dictionary's space: (b, d) float32."""

    def look(chunk: Chunk) -> np.ndarray:
        u = inputs.sae.normalise(torch.from_numpy(chunk.vectors).to(inputs.sae.W_dec.device))
        return u.reshape(chunk.n, -1, inputs.stream.d).mean(1).cpu().numpy()

    return np.concatenate(list(over(inputs, rows, look, "averaging")))


def _dense(
    inputs: Inputs, rows: np.ndarray, folder: Path, look: Callable[[Chunk], np.ndarray], what: str
) -> Dense:
    made = Dense(folder, inputs.stream.d)
    for values in over(inputs, rows, look, what):
        made.add(values)
    return made


def over(
    inputs: Inputs, rows: np.ndarray, look: Callable[[Chunk], Made], what: str
) -> Iterator[Made]:
    """What ``look`` makes of each chunk, in order. One thread computes a chunk."""
    with one_thread() as threads:
        on_cpu = inputs.sae.W_dec.device.type == "cpu"
        work = in_order(look, _chunks(inputs, rows, what), threads if on_cpu else 1)
        for _, found in work:
            yield found
