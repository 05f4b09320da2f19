"""Makes the beginning and the end of a long training again, to compare them with what is there."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from saev.core.files import read_json
from saev.core.meta import META
from saev.core.progress import duration
from saev.core.state import STATE
from saev.parity.lab import Made
from saev.parity.measures.measured import compare
from saev.parity.measures.of_train import compare_curves, read_curve
from saev.parity.sample_project import Scratch
from saev.parity.verdict import Level, Verdict, worst
from saev.settings.parity import ParitySettings
from saev.train import last_state
from saev.train.artifact import CURVE
from saev.workflow.stages import BY_NAME

STEPS = 3
"""Fewest lines of a curve that the beginning must reach to say anything."""
SEEN = {
    "resampled": "latents were restarted",
    "dead": "latents were dead",
}
"""What happens only in some steps of a training, by the figure of the curve that shows it."""


class Long(NamedTuple):
    """A finished training that takes too long to make all of it again."""

    made: Made
    stamp: Path
    """Its job's, in the project."""
    seconds: float
    """How long to make its beginning again."""


class Beginning:
    """Tells when the beginning of a training is long enough.

    Args:
        folder: its directory.
        seconds: how long it shall train.
    """

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder, self.seconds, self.since = folder, seconds, 0.0

    @property
    def state(self) -> Path | None:
        """The folder of its state; None before it begins, and once it is done."""
        return next((path.parent for path in self.folder.glob(f"{STATE}/*/{CURVE}")), None)

    def is_long_enough(self) -> bool:
        """Whether ``seconds`` have passed since its first step."""
        if not self.since and self.state and (self.state / CURVE).stat().st_size:
            self.since = time.monotonic()
        return bool(self.since) and time.monotonic() - self.since > self.seconds


def compare_long(long: Long, scratch: Scratch, settings: ParitySettings) -> tuple[Verdict, str]:
    """Compare the first steps, and those from the last saved state to the end.

    Without that state, or if something happened only in the steps between, it could not tell.

    Args:
        long: the training.
        scratch: a project with the results that it was made from.
        settings: what counts as the same.

    Returns:
        the verdict, and what was compared.

    Raises:
        Failed: the present code can't make it.
    """
    folder = long.made.folder
    placed = BY_NAME[long.made.stage].place(scratch.results, long.made.names)
    doing, begun = f"training {folder} again", Beginning(placed, long.seconds)
    scratch.make(long.stamp, doing, until=begun.is_long_enough)
    if not begun.state:
        again = Made.at(long.made.stage, scratch.results, long.made.names)
        return compare(long.made, again, settings), "all of it"
    found, before = read_curve(begun.state), read_curve(folder)
    more = "give --seconds more"
    if len(found) < STEPS:
        text = f"{len(found)} lines of its curve in {duration(long.seconds)}: {more}"
        return Verdict(Level.UNKNOWN, (text,)), ""
    first = compare_curves(before[: len(found)], found, settings, same_weights=False)
    last, step = before[-1]["step"], found[-1]["step"]
    if not first.same:
        return first, f"the first {step:,} of {last:,} steps"
    late = last_state.adopt(folder, begun.state)
    if late is None:
        text = (
            f"its first {step:,} of {last:,} steps agree, but its last ones can't be made again, "
            f"as it kept no state (compute.keep_state_after): {more}"
        )
        return Verdict(Level.UNKNOWN, (text,)), ""
    missed = unseen(before, step, late)
    if missed:
        text = f"{missed} only in steps {step:,} to {late:,}, which weren't made again: {more}"
        return Verdict(Level.UNKNOWN, (text,)), ""
    scratch.make(long.stamp, doing)
    end = compare(long.made, Made.at(long.made.stage, scratch.results, long.made.names), settings)
    what = f"the first {step:,} of {last:,} steps, and those after step {late:,}"
    return worst([first, end]), what


def training_seconds(folder: Path, run: Mapping[str, Any]) -> float:
    """How long a whole training took.

    Args:
        folder: its directory; run: its `run.json`, which has the seconds of its job alone. That may
            have resumed it, or taken it over from the job of another.
    """
    rate = run.get("examples_per_second")
    whole = read_json(folder / META)["summary"].get("examples", 0) / rate if rate else 0.0
    return max(float(run.get("seconds", 0)), whole)


def unseen(curve: Sequence[dict[str, Any]], first: int, late: int) -> str | None:
    """What happened in a training, but in none of the steps that are made again.

    Args:
        curve: its lines.
        first: the steps up to this one are made again; late: so are those after this one.
    """
    for name, what in SEEN.items():
        steps = [
            line["step"]
            for before, line in zip([{}, *curve], curve, strict=False)
            if line.get(name, 0) > (before.get(name, 0) if name == "resampled" else 0)
        ]
        if steps and not any(step <= first or step > late for step in steps):
            return what
    return None
