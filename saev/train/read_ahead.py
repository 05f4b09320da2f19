"""Reads windows of vectors: a thread reads the next window while the current one is used."""

import threading
from collections.abc import Iterator
from queue import SimpleQueue

import numpy as np

from saev.train.order import Window
from saev.train.reading import Files, Reader

ANNOUNCED = 4
"""How many blocks the system is asked to fetch in advance, so that the disk always has work."""


def read_window(reader: Reader, window: Window, out: np.ndarray, stop: threading.Event) -> None:
    """Fill ``out`` (window.size, d) with the window's blocks, reading the files forwards."""
    ends = np.cumsum(window.stops - window.starts)
    forwards = np.argsort(window.starts)
    for at, i in enumerate(forwards):
        if stop.is_set():
            return
        for j in forwards[at + ANNOUNCED if at else 0 : at + ANNOUNCED + 1]:
            reader.announce(int(window.starts[j]), int(window.stops[j]))
        start, end = int(window.starts[i]), int(window.stops[i])
        reader.read(start, end, out[ends[i] - (end - start) : ends[i]])


def read_ahead(
    files: Files, windows: Iterator[Window], size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the values of each window, and its places in training order.

    Holds two windows in memory.

    Args:
        files: where the vectors are.
        windows: what to read.
        size: number of vectors in the largest window.

    Yields:
        values (window.size, d) in the stored type, valid until you ask for the next window; and
        places (m,) int64. An error in the thread is raised here.
    """
    free: SimpleQueue[np.ndarray] = SimpleQueue()
    ready: SimpleQueue[tuple[np.ndarray, np.ndarray, np.ndarray] | BaseException | None]
    ready = SimpleQueue()
    for _ in range(2):
        free.put(files.empty(size))
    stop = threading.Event()

    def work() -> None:
        try:
            with Reader(files) as reader:
                for window in windows:
                    buffer = free.get()
                    if not stop.is_set():
                        read_window(reader, window, buffer[: window.size], stop)
                    if stop.is_set():
                        return
                    ready.put((buffer, buffer[: window.size], window.places()))
            ready.put(None)
        except BaseException as error:
            ready.put(error)

    thread = threading.Thread(target=work, name="read ahead", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            buffer, values, places = item
            yield values, places
            free.put(buffer)
    finally:
        stop.set()
        free.put(files.empty(0))
        thread.join()
