"""Activations as vectors in training order.

A training vector's index is its image's position among the training images × n_patches + its patch.
The order of an epoch is a permutation of these indices drawn from ``default_rng([seed, epoch])``; where
the vectors lie, in memory or in mapped files, changes neither the order nor a byte.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from saev.artifacts.activations import Activations, Stream, to_float32
from saev.blocks import held_out_mask

MEMORY_SHARE = 0.5
"""Of the free memory, that the vectors may take."""


class Split(NamedTuple):
    """Images by row id, ascending."""

    training: np.ndarray
    """(m,) int64."""
    held_out: np.ndarray
    """(h,) int64; training never reads them."""


class Vectors(Protocol):
    """Vectors that can be gathered by index."""

    n: int
    d: int

    def gather(self, indices: np.ndarray) -> np.ndarray:
        """Vectors of ``indices`` (b,) int64, as (b, d) float32."""


def split_images(activations: Activations, fraction: float, seed: int) -> Split:
    """Split the recorded images by row id."""
    rows = activations.rows(0, activations.n_images)
    mask = held_out_mask(rows, fraction, seed)
    return Split(rows[~mask], rows[mask])


def load(activations: Activations, stream: Stream, rows: np.ndarray) -> Vectors:
    """Vectors of the images ``rows`` (m,), ascending: in memory if they fit, else mapped."""
    size = 4 if activations.dtype == "float32" else 2
    needed = len(rows) * stream.n_patches * stream.d * size
    kind = InMemory if needed <= MEMORY_SHARE * free_memory() else Mapped
    return kind(activations, stream, rows)


def free_memory() -> int:
    """Bytes that a process can take without swapping."""
    try:
        fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _shards(
    activations: Activations, stream: Stream, rows: np.ndarray
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield, shard by shard, where its part of ``rows`` starts, the positions in the shard, its values."""
    for start in range(0, activations.n_images, activations.shard_images):
        first, last = np.searchsorted(rows, [start, start + activations.shard_images])
        if first < last:
            present, values = activations.read(stream, start, start + activations.shard_images)
            yield int(first), np.searchsorted(present, rows[first:last]), values


class InMemory:
    """All vectors in one array of the stored type; see `Vectors`."""

    def __init__(self, activations: Activations, stream: Stream, rows: np.ndarray) -> None:
        self.n, self.d, self.dtype = len(rows) * stream.n_patches, stream.d, activations.dtype
        kept: np.ndarray | None = None
        for first, positions, values in _shards(activations, stream, rows):
            if kept is None:
                kept = np.empty((len(rows), stream.n_patches, stream.d), values.dtype)
            np.take(values, positions, axis=0, out=kept[first : first + len(positions)])
        self.values = np.empty((0, self.d)) if kept is None else kept.reshape(self.n, self.d)

    def gather(self, indices: np.ndarray) -> np.ndarray:
        return to_float32(self.values[indices], self.dtype)


class Mapped:
    """Vectors left in the shards' mapped files; see `Vectors`."""

    def __init__(self, activations: Activations, stream: Stream, rows: np.ndarray) -> None:
        self.n, self.d, self.dtype = len(rows) * stream.n_patches, stream.d, activations.dtype
        self.n_patches = stream.n_patches
        self.parts = list(_shards(activations, stream, rows))
        self.firsts = np.array([first for first, _, _ in self.parts])

    def gather(self, indices: np.ndarray) -> np.ndarray:
        images, patches = indices // self.n_patches, indices % self.n_patches
        out = np.empty((len(indices), self.d), np.float32)
        part_of = np.searchsorted(self.firsts, images, side="right") - 1
        for part in np.unique(part_of):
            first, positions, values = self.parts[part]
            here = np.flatnonzero(part_of == part)
            at = positions[images[here] - first]
            # In the file's order, so that a disk is read forwards.
            order = np.argsort(at, kind="stable")
            chosen = values[at[order], patches[here[order]]]
            out[here[order]] = to_float32(chosen, self.dtype)
        return out


def sample(n: int, at_most: int, key: list[int]) -> np.ndarray:
    """Draw ``min(n, at_most)`` distinct indices below ``n`` from ``default_rng(key)``, ascending."""
    if n <= at_most:
        return np.arange(n)
    return np.sort(np.random.default_rng(key).choice(n, at_most, replace=False, shuffle=False))


def batches(
    vectors: Vectors, batch_size: int, seed: int, first_step: int, n_steps: int
) -> Iterator[np.ndarray]:
    """Yield the batches of the steps ``first_step`` (from 0) to ``n_steps``: (batch_size, d) float32.

    Epochs follow one another without a gap, so every batch is full, and what a step sees is a function
    of the step alone.
    """
    epoch, order = -1, np.empty(0, np.int64)
    for step in range(first_step, n_steps):
        chosen, position, wanted = [], step * batch_size, batch_size
        while wanted:
            if position // vectors.n != epoch:
                epoch = position // vectors.n
                order = np.random.default_rng([seed, epoch]).permutation(vectors.n)
            offset = position % vectors.n
            chosen.append(order[offset : offset + wanted])
            position, wanted = position + len(chosen[-1]), wanted - len(chosen[-1])
        yield vectors.gather(np.concatenate(chosen))
