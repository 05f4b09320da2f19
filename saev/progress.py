"""Progress with rate and time left, a line now and then: readable in a log and on a terminal."""

import sys
import time

from saev import logs

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
    """Return a rate with three digits at most before a unit: ``13.5``, ``31,200``, ``1.2 M``."""
    if number >= 1e6:
        return f"{number / 1e6:.1f} M"
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}"


class Progress:
    """Counts towards a known total and says, sparsely, how far it is.

    Lines come at most every few seconds, so that several jobs can share a terminal and a log of a
    ten-hour run stays short. The first line waits as long: short work prints nothing.

    Args:
        total: how many units there are.
        unit: what is counted, in the plural (``images``).
        what: what is being done (``recording shard 3``).
        done: units that an earlier try has already done; they are not in the rate.
    """

    def __init__(self, total: int, unit: str, what: str, done: int = 0) -> None:
        self.total, self.unit, self.what = total, unit, what
        self.done = self.first = done
        self.started = self.said = time.monotonic()
        self.every = TERMINAL_SECONDS if sys.stderr.isatty() else LOG_SECONDS

    def update(self, n: int, note: str = "") -> None:
        """Count ``n`` more units; ``note`` is put at the end of the line (losses, say)."""
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
        # Figures take the place of the total: a line has room in 100 columns.
        total = "" if note else f" of {self.total:,} {self.unit}"
        text = f"{self.what}: {share:.0f} %{total} · {quantity(rate)} {self.unit}/s · {left} left"
        return f"{text} · {note}" if note else text

    def rate(self, now: float | None = None) -> float:
        """Units a second since the start of this try."""
        seconds = (now or time.monotonic()) - self.started
        return (self.done - self.first) / seconds if seconds > 0 else 0.0
