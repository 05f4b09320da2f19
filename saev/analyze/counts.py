"""Counts on how many images of each label a latent fires. Counts are sparse, and memory is bounded.

A pair of latent and label is one int64 key, ``latent * n_labels + label``. A fixed number of keys
is collected, then written to a run: the distinct keys in ascending order, and their counts. Runs
are merged by ranges of latents. So a whole table of latents × labels is never in memory or on disk.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

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


def keys_name(prefix: str) -> str:
    """Name of the file with a run's keys."""
    return f"{prefix}.keys.npy"


def counts_name(prefix: str) -> str:
    """Name of the file with a run's counts."""
    return f"{prefix}.counts.npy"


def open_counts(
    folder: Path, prefix: str, n_labels: int, codes: np.ndarray | None = None
) -> PairCounts:
    """Map the files of a run into memory."""
    keys, counts = (_mapped(folder / name(prefix)) for name in (keys_name, counts_name))
    return PairCounts(keys, counts, n_labels, codes)


def _mapped(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError:
        return np.load(path, allow_pickle=False)  # an empty array can't be mapped


class Counter:
    """Counts pairs of latent and label.

    Args:
        folder: where runs are written; it exists and is empty.
        n_labels: number of labels.
        limit: how many keys to hold before they are written.
    """

    def __init__(self, folder: Path, n_labels: int, limit: int = LIMIT) -> None:
        self.folder, self.n_labels, self.limit = folder, n_labels, limit
        self.held: list[np.ndarray] = []
        self.n_held = self.n_runs = 0

    def add(self, latents: np.ndarray, labels: np.ndarray) -> None:
        """Count one image for each pair. A label below 0 means no label.

        Args:
            latents: (m,) int64, labels: (m,) int64.
        """
        known = labels >= 0
        keys = latents[known] * self.n_labels + labels[known]
        self.held.append(keys)
        self.n_held += len(keys)
        if self.n_held >= self.limit:
            self.flush()

    def flush(self) -> None:
        """Write the held keys to a run."""
        if not self.n_held:
            return
        keys, counts = np.unique(np.concatenate(self.held), return_counts=True)
        np.save(self.folder / keys_name(f"run-{self.n_runs:05}"), keys)
        np.save(self.folder / counts_name(f"run-{self.n_runs:05}"), counts.astype(np.int64))
        self.n_runs += 1
        self.held, self.n_held = [], 0

    def finish(self, folder: Path, prefix: str, n_latents: int) -> list[str]:
        """Merge all runs into one. Return the names of its two files in ``folder``."""
        self.flush()
        runs = [open_counts(self.folder, f"run-{i:05}", self.n_labels) for i in range(self.n_runs)]
        names = [keys_name(prefix), counts_name(prefix)]
        # Two passes, because the header of an .npy file contains its length.
        total = sum(len(keys) for keys, _ in merged(runs, n_latents, self.n_labels, self.limit))
        arrays = [np.empty(0, np.int64)] * 2
        if total:
            arrays = [
                np.lib.format.open_memmap(folder / n, mode="w+", dtype=np.int64, shape=(total,))
                for n in names
            ]
        at = 0
        for keys, counts in merged(runs, n_latents, self.n_labels, self.limit):
            arrays[0][at : at + len(keys)] = keys
            arrays[1][at : at + len(keys)] = counts
            at += len(keys)
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
        and their counts (m,) int64.
    """
    totals = np.zeros(n_latents + 1, np.int64)
    for run in runs:
        totals += np.searchsorted(run.keys, np.arange(n_latents + 1) * run.n_labels)
    start = 0
    while start < n_latents:
        stop = int(np.searchsorted(totals, totals[start] + limit, side="right")) - 1
        stop = max(stop, start + 1)
        keys, counts = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for run in runs:
            low, high = np.searchsorted(run.keys, [start * run.n_labels, stop * run.n_labels])
            piece = np.asarray(run.keys[low:high])
            if run.codes is not None:
                latent, label = np.divmod(piece, run.n_labels)
                piece = latent * n_labels + run.codes[label]
            keys.append(piece)
            counts.append(np.asarray(run.counts[low:high]))
        distinct, inverse = np.unique(np.concatenate(keys), return_inverse=True)
        summed = np.zeros(len(distinct), np.int64)
        np.add.at(summed, inverse, np.concatenate(counts))
        if len(distinct):
            yield distinct, summed
        start = stop
