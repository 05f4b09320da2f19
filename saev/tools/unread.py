"""How a command ends if nobody reads its output any more, as in `saev check | head`."""

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ending_unread() -> Iterator[None]:
    """End without a traceback once the reader of this program's output is gone.

    Raises:
        SystemExit: it is gone, with the status of a program that SIGPIPE ended.
    """
    try:
        try:
            yield
        finally:
            print(end="", flush=True)
    except BrokenPipeError:
        if not _is_gone():
            raise  # it was something else's pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more
        sys.exit(128 + signal.SIGPIPE)


def _is_gone() -> bool:
    """Whether nobody can read what this program prints."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)  # errors are always reported
    return bool(output.poll(0))
