"""Notices requests to stop, between two steps."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def sigterm() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether SIGTERM or Ctrl-C came. No step is interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    came = threading.Event()

    def notice(number: int, frame: FrameType | None) -> None:
        came.set()

    before = {n: signal.signal(n, notice) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield came.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
