"""Where words go: the terminal and the job's log file, the same lines in both."""

import sys
import time
from pathlib import Path

_log_file: Path | None = None
_prefix = ""
_muted = False


def open_log(path: str | Path | None, prefix: str = "") -> None:
    """Send what is said from now on to ``path`` too; ``prefix`` starts each line on the terminal."""
    global _log_file, _prefix
    _log_file = Path(path) if path else None
    _prefix = prefix
    if _log_file:
        _log_file.parent.mkdir(parents=True, exist_ok=True)


def mute() -> None:
    """Say nothing more on the terminal: another process speaks for this one."""
    global _muted
    _muted = True


def note(text: str) -> None:
    """Write ``text`` to the log file alone."""
    if _log_file:
        with _log_file.open("a", encoding="utf-8") as handle:
            handle.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def say(text: str) -> None:
    """Write ``text`` to the terminal and to the log file."""
    if not _muted:
        print(f"{_prefix}{text}", file=sys.stderr, flush=True)
        note(text)
