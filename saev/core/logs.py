"""The logger ``saev``. Programs show it on the terminal and write it to their log file.

As a library, saev prints nothing by itself. ``logging.getLogger("saev")`` gets messages and
progress at level INFO, and what belongs only in log files at DEBUG.
"""

import logging
import sys
from contextlib import suppress
from pathlib import Path

LOGGER = logging.getLogger("saev")
say = LOGGER.info
"""Write a text to the terminal and to the log file."""
note = LOGGER.debug
"""Write a text only to the log file."""
alarm = LOGGER.error
"""Write a text to the terminal and to the log file, although messages are muted."""


def start(path: str | Path | None = None, shared: bool = False) -> None:
    """Start showing messages on the terminal and, with the time, in the log file ``path``.

    If the log can't be written, a warning says so once and the work continues.

    Args:
        path: the file. It is begun anew.
        shared: other processes write to it too, and one of them began it.
    """
    for handler in LOGGER.handlers[:]:
        LOGGER.removeHandler(handler)
    LOGGER.setLevel(logging.DEBUG)
    LOGGER.propagate = False  # a library may have given the root logger a handler
    terminal = logging.StreamHandler()
    terminal.setLevel(logging.INFO)
    LOGGER.addHandler(terminal)
    if path:
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            if not shared:
                Path(path).write_bytes(b"")
            file = LogFile(path, mode="a", encoding="utf-8")
        except OSError as error:
            say(f"warning: can't write the log {path} ({error.strerror}): continuing without it")
        else:
            file.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
            LOGGER.addHandler(file)


class LogFile(logging.FileHandler):
    """A log file that is closed, with a warning, when it can't be written."""

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        LOGGER.removeHandler(self)
        with suppress(OSError):
            self.close()
        say(
            f"warning: can't write the log {self.baseFilename} ({error.strerror}): continuing "
            f"without it"
        )


def mute() -> None:
    """Stop showing what is said, because another process says the same. Notes still go to the log
    file, and alarms are shown."""
    LOGGER.addFilter(lambda record: record.levelno != logging.INFO)
