"""Notices requests to stop, between two steps."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from saev.core import frame


@contextmanager
def sigterm() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether this process is to end. No step is interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    came = threading.Event()

    def notice(number: int, where: FrameType | None) -> None:
        came.set()

    before = {number: signal.signal(number, notice) for number in frame.ends()}
    try:
        yield came.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
