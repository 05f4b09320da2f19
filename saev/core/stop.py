"""How a program of saev ends on SIGTERM, on Ctrl-C and when its terminal is closed.

A signal raises `Stopped` in the main thread, wherever that is. Python drops an exit that comes
while a library calls back, and one that comes just after a lock was taken leaves it taken. So a
program that is still there some seconds later is ended from outside Python. Nothing is lost: what
it makes is whole or absent at every instant.
"""

import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO

GRACE_SECONDS = 20
"""How long a program may take to clean up. Slurm gives 30 seconds before it kills."""


class Stopped(SystemExit):
    """Raised in the main thread on SIGTERM, on Ctrl-C and when the terminal is closed.

    ``finally`` blocks still run, so locks are released.
    """


class _Asked:
    """What has been asked of this process. A handler may set it at any time, so it holds no lock
    as a `threading.Event` would."""

    number = 0
    """The signal that asked this process to end; 0 if none did."""
    log: IO[str] | None = None
    """Where a program that had to be ended leaves what it was doing. None in a library."""


def ends() -> list[signal.Signals]:
    """The signals that end this process: SIGTERM, Ctrl-C, and a terminal that is closed.

    The last one doesn't under `nohup`, which has it ignored.
    """
    closed = [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN else []
    return [signal.SIGTERM, signal.SIGINT, *closed]


def listen(log: str | Path | None = None) -> None:
    """Raise `Stopped` on the signals that end this program, from now on.

    Args:
        log: file to which a program that had to be ended adds what it was doing.
    """
    nowhere = Path(os.devnull)
    try:
        _Asked.log = Path(log or nowhere).open("a")  # noqa: SIM115 (stays open)
    except OSError:
        _Asked.log = nowhere.open("a")
    for number in ends():
        signal.signal(number, _stop)


def asked() -> int:
    """The signal that asked this process to end; 0 if none did."""
    return _Asked.number


def _stop(number: int, where: FrameType | None) -> None:
    _Asked.number = number
    _end_soon()
    sys.unraisablehook = lambda _: None  # a library that drops the exit isn't worth a traceback
    raise Stopped(128 + number)


def _end_soon() -> None:
    if _Asked.log:
        faulthandler.dump_traceback_later(GRACE_SECONDS, exit=True, file=_Asked.log)


@contextmanager
def between_steps() -> Iterator[Callable[[], int]]:
    """Yield a function that gives the signal that asked this process to end, or 0.

    Nothing is interrupted meanwhile, and it may take as long as it needs.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    program = _Asked.log is not None
    if not program:  # a library: an earlier request was for an earlier call
        _Asked.number = 0

    def notice(number: int, where: FrameType | None) -> None:
        _Asked.number = number

    before = {number: signal.signal(number, notice) for number in ends()}
    faulthandler.cancel_dump_traceback_later() if program else None
    try:
        yield asked
    finally:
        if _Asked.number:
            _end_soon()
        for number, handler in before.items():
            signal.signal(number, handler)
