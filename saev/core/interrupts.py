"""Ctrl-C while nothing of saev listens to it yet: no traceback, in stages and in Snakemake.

`saev` imports this first, so it imports nothing that takes time. A stage listens to signals itself
once it has imported what it needs (`saev.core.frame.run`).
"""

import atexit
import logging
import signal
import sys
import threading
import warnings
from types import FrameType

came = threading.Event()
"""Whether Ctrl-C was pressed in the main process of the workflow."""


def answer() -> None:
    """End this process with one line when Ctrl-C is pressed; for the main process of the workflow.

    Jobs at the same terminal get the signal too and save their states, while Snakemake waits for
    them. Pressed again, it changes nothing for Snakemake.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _stop)
        atexit.register(_end)


def _stop(number: int, frame: FrameType | None) -> None:
    if not came.is_set():
        came.set()
        _hush()
        raise SystemExit(128 + number)


def _end() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if came.is_set():
        print("stopped: the same command resumes", file=sys.stderr)


def _hush() -> None:
    """Hide what Python says of tasks and threads that the exit cuts short."""
    logging.getLogger("asyncio").disabled = True
    warnings.simplefilter("ignore")
    sys.unraisablehook = lambda _: None
    threading.excepthook = lambda _: None


def _imports_of_a_stage() -> bool:
    """Whether this process is ``python -m saev.…``, before it runs the module."""
    return sys.argv[:1] == ["-m"] and any(name.startswith("saev.") for name in sys.orig_argv)


if _imports_of_a_stage():
    # Nothing was done yet, so nothing is lost.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
