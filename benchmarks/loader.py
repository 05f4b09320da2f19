"""Measures the training loader: gathering in memory, and streaming against plain reads.

    python benchmarks/loader.py --rows 4000000 --folder /tmp/loader

Writes float16 class tokens of width 1,024 in shards. They stay in ``--folder`` for next time. 5 %
of the images are held out. For float32 batches of 4,096, prints:

- in memory: rows per second of ``loader.batches`` over the first ``--memory-rows``, without
  loading;
- streamed: rows per second over an epoch, including the first window, and bytes per second,
  compared with a plain sequential read of the same files in the same cache state;
- windows only read into a buffer, in the order of an epoch: bytes per second.

Cold means: before each measurement, ``posix_fadvise(DONTNEED)`` drops the files' pages from the
system's cache. An epoch reads each block once. The caches of a host or a disk can't be dropped. A
plain read is ``readinto`` of 16 MiB from front to back. Plain reads and streams take turns. Figures
are medians of ``--repeat`` turns.
"""

import argparse
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from saev.activations.artifact import Stream, shard_array
from saev.core.blocks import held_out_mask
from saev.train import loader, order
from saev.train.read_ahead import read_window
from saev.train.reading import Reader

D, BATCH, SHARD, HELD_OUT = 1024, 4096, 65_536, 0.05
STREAM = Stream("layer-00.cls", D, 1, "cls", 0)


class Recorded:
    """The part of `Activations` that the loader needs.

    Files aren't sealed, which would take memory.
    """

    dtype, shard_images = "float16", SHARD

    def __init__(self, folder: Path, n: int) -> None:
        self.path, self.n_images = folder, n

    def rows(self, start: int, stop: int) -> np.ndarray:
        return np.arange(start, min(stop, self.n_images))

    def read(self, stream: Stream, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        path = self.path / shard_array(stream.name, start // SHARD)
        values = np.load(path, mmap_mode="r")[: max(0, stop - start)]
        return self.rows(start, stop), values[:, None]


def make(folder: Path, n: int) -> Recorded:
    """Write files of ``n`` images with one vector each, unless they exist already."""
    values = np.empty((0, D), np.float16)
    for shard, start in enumerate(range(0, n, SHARD)):
        path = folder / shard_array(STREAM.name, shard)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            if not len(values):
                rng = np.random.default_rng(0)
                values = rng.standard_normal((SHARD, D), np.float32).astype(np.float16)
            np.save(path, values[: n - start])
    return Recorded(folder, n)


def drop(paths: list[Path]) -> None:
    """Drop the files' pages from the system's cache."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def plain(paths: list[Path]) -> float:
    """Bytes per second when reading all files from front to back."""
    buffer, total, started = bytearray(16 << 20), 0, time.perf_counter()
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while got := file.readinto(buffer):
                total += got
    return total / (time.perf_counter() - started)


def rows_a_second(batches: Iterator[np.ndarray]) -> float:
    """Rows per second of an iterator of batches."""
    n, started = 0, time.perf_counter()
    for batch in batches:
        n += len(batch)
    return n / (time.perf_counter() - started)


def window_bytes_a_second(streamed: loader.Streamed) -> float:
    """Bytes per second when reading an epoch's windows without using them."""
    buffer, stop = streamed.files.empty(order.WINDOW_VECTORS), threading.Event()
    buffer.fill(0)
    started = time.perf_counter()
    with Reader(streamed.files) as reader:
        for window in order.epoch_windows(streamed.n, 0, 0):
            read_window(reader, window, buffer[: window.size], stop)
    return streamed.n * streamed.files.vector_bytes / (time.perf_counter() - started)


def in_turns(repeat: int, *measures: Callable[[], float]) -> list[float]:
    """Medians of several measurements that take turns."""
    found = [[measure() for measure in measures] for _ in range(repeat)]
    return [statistics.median(column) for column in zip(*found, strict=True)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--folder", type=Path, required=True, help="for the files, kept")
    parser.add_argument("--memory-rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    activations: Any = make(args.folder / str(args.rows), args.rows)
    training = activations.rows(0, args.rows)
    training = training[~held_out_mask(training, HELD_OUT, 0)]
    paths = sorted(activations.path.glob("*/*.npy"))
    streamed = loader.Streamed(activations, STREAM, training)
    n_steps = len(training) // BATCH
    print(
        f"{len(training):,} vectors of {D} float16 in {len(paths)} files, "
        f"{sum(p.stat().st_size for p in paths) / 1e9:.2f} GB; windows of {order.WINDOW_VECTORS:,}"
    )
    for state in ("cold", "warm"):

        def ready(state: str = state) -> None:
            if state == "cold":
                drop(paths)

        def reading(ready: Callable[[], None] = ready) -> float:
            ready()
            return plain(paths)

        def streaming(ready: Callable[[], None] = ready) -> float:
            ready()
            return rows_a_second(loader.batches(streamed, BATCH, 0, 0, n_steps))

        def reading_windows(ready: Callable[[], None] = ready) -> float:
            ready()
            return window_bytes_a_second(streamed)

        plain(paths)
        bytes_a_second, read, rate = in_turns(args.repeat, reading, reading_windows, streaming)
        ratio = rate * D * 2 / bytes_a_second
        print(
            f"streamed, {state}: {rate:,.0f} rows/s, {rate * D * 2 / 1e9:.2f} GB/s of training "
            f"vectors; plain read {bytes_a_second / 1e9:.2f} GB/s; ratio {ratio:.2f}\n"
            f"windows only read, {state}: {read / 1e9:.2f} GB/s; ratio {read / bytes_a_second:.2f}"
        )
    memory = loader.InMemory(activations, STREAM, training[: args.memory_rows])
    n_steps = memory.n // BATCH
    rows_a_second(loader.batches(memory, BATCH, 0, 0, 2))
    (rate,) = in_turns(
        args.repeat, lambda: rows_a_second(loader.batches(memory, BATCH, 0, 0, n_steps))
    )
    print(f"in memory: {rate:,.0f} rows/s, {rate * D * 4 / 1e9:.2f} GB/s of float32 written")


if __name__ == "__main__":
    main()
