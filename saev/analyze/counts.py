"""Counts on how many images of each label a latent fires. Counts are sparse, and memory is bounded.

A pair of latent and label is one int64 key, ``latent * n_labels + label``. A fixed number of keys
is collected, then written to a run: the distinct keys in ascending order, and their counts. Runs
are merged by ranges of latents. So a whole table of latents × labels is never in memory or on disk.
Values may be added up beside the counts.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from saev.analyze.mapped import mapped

LIMIT = 1 << 22
"""How many keys are in memory at once (32 MiB)."""


class PairCounts(NamedTuple):
    """The sorted distinct keys of some images, and the number of images with each."""

    keys: np.ndarray
    """(m,) int64, ascending."""
    counts: np.ndarray
    """(m,) int64."""
    n_labels: int
    """The number of labels that the keys were made with."""
    codes: np.ndarray | None = None
    """(n_labels,) int64: the reader's code for each of the run's labels; None if the same."""
    sums: np.ndarray | None = None
    """(m,) float64: the sum of the values that came with each key; None if none did."""

    def of_sums(self) -> "PairCounts":
        """The same with the sums in place of the counts, to be merged like them."""
        assert self.sums is not None
        return self._replace(counts=self.sums)


def keys_name(prefix: str) -> str:
    """Name of the file with a run's keys."""
    return f"{prefix}.keys.npy"


def counts_name(prefix: str) -> str:
    """Name of the file with a run's counts."""
    return f"{prefix}.counts.npy"


def sums_name(prefix: str) -> str:
    """Name of the file with a run's sums of values."""
    return f"{prefix}.sums.npy"


def open_counts(
    folder: Path, prefix: str, n_labels: int, codes: np.ndarray | None = None, sums: bool = False
) -> PairCounts:
    """Map the files of a run into memory, with its sums of values if they are wanted."""
    files = [keys_name, counts_name, *[sums_name] * sums]
    keys, counts, *more = (mapped(folder / name(prefix)) for name in files)
    return PairCounts(keys, counts, n_labels, codes, *more)


class Counter:
    """Counts pairs of latent and label.

    Args:
        folder: where runs are written; it exists and is empty.
        n_labels: number of labels.
        limit: how many keys to hold before they are written.
        sums: whether values come with the pairs, to be added up.
    """

    def __init__(self, folder: Path, n_labels: int, limit: int = LIMIT, sums: bool = False) -> None:
        self.folder, self.n_labels, self.limit, self.sums = folder, n_labels, limit, sums
        self.held: list[np.ndarray] = []
        self.values: list[np.ndarray] = []
        self.n_held = self.n_runs = 0

    def add(
        self, latents: np.ndarray, labels: np.ndarray, values: np.ndarray | None = None
    ) -> None:
        """Count one image for each pair. A label below 0 means no label.

        Args:
            latents: (m,) int64, labels: (m,) int64.
            values: (m,) float, if there are sums.
        """
        known = labels >= 0
        keys = latents[known] * self.n_labels + labels[known]
        self.held.append(keys)
        if values is not None:
            self.values.append(values[known])
        self.n_held += len(keys)
        if self.n_held >= self.limit:
            self.flush()

    def flush(self) -> None:
        """Write the held keys to a run."""
        if not self.n_held:
            return
        prefix, held = f"run-{self.n_runs:05}", np.concatenate(self.held)
        keys, counts = np.unique(held, return_counts=True)
        np.save(self.folder / keys_name(prefix), keys)
        np.save(self.folder / counts_name(prefix), counts.astype(np.int64))
        if self.sums:
            sums, values = np.zeros(len(keys)), np.concatenate(self.values, dtype=np.float64)
            np.add.at(sums, np.searchsorted(keys, held), values)
            np.save(self.folder / sums_name(prefix), sums)
        self.n_runs += 1
        self.held, self.values, self.n_held = [], [], 0

    def finish(self, folder: Path, prefix: str, n_latents: int) -> list[str]:
        """Merge all runs into one. Return the names of its files in ``folder``."""
        self.flush()
        runs = [
            open_counts(self.folder, f"run-{i:05}", self.n_labels, sums=self.sums)
            for i in range(self.n_runs)
        ]
        names = [keys_name(prefix), counts_name(prefix), *[sums_name(prefix)] * self.sums]
        types = (np.int64, np.int64, np.float64)[: len(names)]
        # Two passes, because the header of an .npy file contains its length.
        total = sum(len(keys) for keys, _ in merged(runs, n_latents, self.n_labels, self.limit))
        arrays = [np.empty(0, kind) for kind in types]
        if total:
            arrays = [
                np.lib.format.open_memmap(folder / name, mode="w+", dtype=kind, shape=(total,))
                for name, kind in zip(names, types, strict=True)
            ]
        at = 0
        entries = with_sums if self.sums else merged
        for found in entries(runs, n_latents, self.n_labels, self.limit):
            end = at + len(found[0])
            for array, values in zip(arrays, found, strict=True):
                array[at:end] = values
            at = end
        for name, array in zip(names, arrays, strict=True):
            if isinstance(array, np.memmap):
                array.flush()
            else:
                np.save(folder / name, array)
        return names


def merged(
    runs: Sequence[PairCounts], n_latents: int, n_labels: int, limit: int = LIMIT
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Add up runs, one range of latents at a time.

    Args:
        runs: the runs. Each may have its own codes for labels (see ``codes``).
        n_latents: number of latents.
        n_labels: number of labels in the keys that are yielded.
        limit: how many entries to hold at once. Those of a single latent are never split.

    Yields:
        distinct keys ``latent * n_labels + label`` (m,) int64, ascending over all that is yielded,
        and their counts (m,) int64 (of `PairCounts.of_sums`: their sums (m,) float64).
    """
    totals = np.zeros(n_latents + 1, np.int64)
    for run in runs:
        totals += np.searchsorted(run.keys, np.arange(n_latents + 1) * run.n_labels)
    start = 0
    while start < n_latents:
        stop = int(np.searchsorted(totals, totals[start] + limit, side="right")) - 1
        stop = max(stop, start + 1)
        keys, counts = [np.empty(0, np.int64)], [np.empty(0, np.bool_)]
        for run in runs:
            low, high = np.searchsorted(run.keys, [start * run.n_labels, stop * run.n_labels])
            piece = np.asarray(run.keys[low:high])
            if run.codes is not None:
                latent, label = np.divmod(piece, run.n_labels)
                piece = latent * n_labels + run.codes[label]
            keys.append(piece)
            counts.append(np.asarray(run.counts[low:high]))
        distinct, inverse = np.unique(np.concatenate(keys), return_inverse=True)
        joined = np.concatenate(counts)
        summed = np.zeros(len(distinct), joined.dtype)
        np.add.at(summed, inverse, joined)
        if len(distinct):
            yield distinct, summed
        start = stop


def with_sums(
    runs: Sequence[PairCounts], n_latents: int, n_labels: int, limit: int = LIMIT
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """As `merged`, with the sums of the values as well: (m,) float64. All runs must have them."""
    both = (runs, [run.of_sums() for run in runs])
    counted, added = (merged(some, n_latents, n_labels, limit) for some in both)
    for (keys, counts), (_, sums) in zip(counted, added, strict=True):
        yield keys, counts, sums
