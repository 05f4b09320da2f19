"""Windows of vectors, read by one thread while the window before is used."""

import threading
from collections.abc import Iterator
from queue import SimpleQueue

import numpy as np

from saev.training.files import Files, Reader
from saev.training.order import Window

ANNOUNCED = 4
"""Blocks that the system is asked to fetch ahead of the one that is read: a disk always has work."""


def read_window(reader: Reader, window: Window, out: np.ndarray, stop: threading.Event) -> None:
    """Fill ``out`` (window.size, d) with the window's blocks; the files are read forwards."""
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
    """Yield each window's values and its places in training order; memory is that of two windows.

    Args:
        files: where the vectors lie.
        windows: what to read.
        size: vectors of the largest window.

    Yields:
        (window.size, d) in the stored type, valid until the next one is asked for, and (m,) int64. An
        error of the thread is raised here.
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
