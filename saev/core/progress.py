"""Progress with rate and time left, as occasional lines that suit a log and a terminal."""

import sys
import time

from saev.core import logs

TERMINAL_SECONDS = 5.0
LOG_SECONDS = 20.0


def duration(seconds: float) -> str:
    """Return ``seconds`` as people read it: ``8 s``, ``3:05`` or ``2:03:05``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def quantity(number: float) -> str:
    """Return a number in short form: ``13.5``, ``31,200``, ``1.2 M``."""
    if number >= 1e6:
        return f"{number / 1e6:.1f} M"
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}"


class Progress:
    """Counts towards a known total and says from time to time how far it is.

    A line comes at most every few seconds, so that several jobs can share a terminal and the log of
    a ten-hour run stays short. Work that takes less time prints nothing.

    Args:
        total: how many units there are.
        unit: what is counted, in the plural (``images``).
        what: what is being done (``recording shard 3``).
        done: units that an earlier try finished. They don't count in the rate.
    """

    def __init__(self, total: int, unit: str, what: str, done: int = 0) -> None:
        self.total, self.unit, self.what = total, unit, what
        self.done = self.first = done
        self.started = self.said = time.monotonic()
        self.every = TERMINAL_SECONDS if sys.stderr.isatty() else LOG_SECONDS

    def update(self, n: int, note: str = "") -> None:
        """Count ``n`` more units. ``note`` (losses, say) goes to the end of the line."""
        self.done += n
        now = time.monotonic()
        if now - self.said >= self.every:
            self.said = now
            logs.say(self.line(now, note))

    def line(self, now: float, note: str = "") -> str:
        """The line for the moment ``now`` of ``time.monotonic()``."""
        rate = self.rate(now)
        left = duration((self.total - self.done) / rate) if rate else "unknown time"
        share = 100 * self.done / self.total if self.total else 100
        # A note takes the place of the total, so that the line fits into 100 columns.
        total = "" if note else f" of {self.total:,} {self.unit}"
        text = f"{self.what}: {share:.0f} %{total} · {quantity(rate)} {self.unit}/s, {left} left"
        return f"{text} · {note}" if note else text

    def rate(self, now: float | None = None) -> float:
        """Units per second since the start of this try."""
        seconds = (now or time.monotonic()) - self.started
        return (self.done - self.first) / seconds if seconds > 0 else 0.0
