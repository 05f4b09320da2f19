"""The form of every result: a figure of the run beside its baselines, and columns by latent."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

RESAMPLES = 1000
"""Resamples behind an interval over latents."""
LEVEL = 0.95


class Measured(NamedTuple):
    """A number, and what is known about its error."""

    value: float | None
    """None where it isn't defined."""
    low: float | None = None
    high: float | None = None
    """Ends of the interval; None where the number is no mean of many."""

    def entry(self) -> dict[str, Any]:
        """As in `evaluation.json`."""
        interval = None if self.low is None else [self.low, self.high]
        return {"value": self.value, "interval": interval}

    def text(self) -> str:
        """For a line of the log."""
        if self.value is None:
            return "none"
        interval = "" if self.low is None else f" ({self.low:.3g} to {self.high:.3g})"
        return f"{self.value:.3g}{interval}"


@dataclass
class Figure:
    """One figure of the run. The page shows a line for each."""

    metric: str
    """The metric that it belongs to: a key of the settings, or ``gamma``."""
    name: str
    """Which of the metric's figures it is."""
    measured: Measured
    n: int
    """How many ``over`` it is taken over."""
    over: str
    """``latents``, ``images``, ``classes`` or ``dimensions``."""
    baselines: dict[str, Measured] = field(default_factory=dict)
    """The same figure of something trivial, by its name."""
    split: str = "all"
    """Images that it is about: ``all``, or ``held_out``, which training never saw."""
    note: str = ""
    """What else to know."""
    of: str = ""
    """The label that it is about, if any."""
    why: str = ""
    """Why it isn't defined, or a baseline isn't. Kept in the note where one isn't."""

    def __post_init__(self) -> None:
        undefined = [name for name, one in self.baselines.items() if one.value is None]
        if self.measured.value is None:
            reason = self.why
        elif undefined:
            reason = f"{', '.join(undefined).replace('_', ' ')}: {self.why}"
        else:
            reason = ""
        self.note = "; ".join(part for part in (reason, self.note) if part)

    def line(self) -> str:
        """For the log."""
        what = " ".join(part for part in (self.metric, self.name, self.of) if part)
        beside = "".join(f"; {name} {one.text()}" for name, one in self.baselines.items())
        return f"{what}: {self.measured.text()}{beside}{f' ({self.note})' if self.note else ''}"

    def entry(self) -> dict[str, Any]:
        """As in `evaluation.json`."""
        return {
            "metric": self.metric,
            "name": self.name,
            "of": self.of,
            **self.measured.entry(),
            "n": self.n,
            "over": self.over,
            "split": self.split,
            "baselines": {name: one.entry() for name, one in self.baselines.items()},
            "note": self.note,
        }


@dataclass
class Results:
    """All that an evaluation finds."""

    figures: list[Figure] = field(default_factory=list)
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    """(n,) by name, a row a latent; NaN for null."""

    def add(self, found: "Results") -> None:
        """Take those of one more metric."""
        self.figures += found.figures
        self.columns |= found.columns


def missing(metric: str, name: str, over: str, note: str, of: str = "") -> Figure:
    """A figure that can't be had. ``note`` says why; ``of`` is its label, if it has one."""
    return Figure(metric, name, Measured(None), 0, over, of=of, why=note)


def mean_of(values: np.ndarray, seed: int) -> Measured:
    """The mean of ``values`` (m,), and its 95 % interval by the percentile bootstrap.

    Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3. NaN is left out.

    Args:
        values: (m,) float64.
        seed: of the resamples.
    """
    values = values[~np.isnan(values)]
    if not len(values):
        return Measured(None)
    rng = np.random.default_rng([seed, len(values)])
    means = [
        float(values[rng.integers(0, len(values), len(values))].mean()) for _ in range(RESAMPLES)
    ]
    return Measured(float(values.mean()), *percentiles(np.array(means)))


def percentiles(resampled: np.ndarray) -> tuple[float, float]:
    """The ends of the interval that holds `LEVEL` of the resampled figures (r,)."""
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
