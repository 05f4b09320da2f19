"""Measures how much longer the page of a run takes to build without the codes of its analysis.

    python benchmarks/build_page.py results/openmoji-…/clip-b16-…/patches-…/emoji-…

The analysis must have kept its codes. Its page is built into a temporary folder, in turns: with the
codes, and by encoding images again. Prints the seconds of the clock and of the processors, their
ratio, the size of the codes, and whether both pages have the same bytes. Changes nothing.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch

from saev.activations.artifact import Activations
from saev.analyze.artifact import CODES, Analysis
from saev.core.files import folder_entry
from saev.dashboard import build
from saev.images.artifact import Images


class Built(NamedTuple):
    """A page that was built."""

    clock: float
    """Seconds."""
    processors: float
    """Seconds of all threads."""
    sha256: str
    """Of all its files."""


class NoCodes(build.KeptCodes):
    """The codes of an analysis that kept none."""

    def _part(self, number: int) -> None:
        return None


def built(path: Path, threads: int) -> Built:
    """Build the page of an analysis."""
    sae = path.parent
    with tempfile.TemporaryDirectory() as folder:
        out, state = Path(folder, "page"), Path(folder, "state")
        out.mkdir()
        state.mkdir()
        started = time.perf_counter(), time.process_time()
        build.build(
            out,
            state,
            analysis=Analysis(path),
            sae_folder=sae,
            activations=Activations(sae.parent),
            images=Images(sae.parent.parent),
            evaluation=None,
            others=[],
            credit=None,
            threads=threads,
            device=torch.device("cpu"),
        )
        clock, processors = time.perf_counter() - started[0], time.process_time() - started[1]
        return Built(clock, processors, folder_entry(out, ".")["sha256"])


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("analysis", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    size = sum(path.stat().st_size for path in (given.analysis / CODES).iterdir())
    reader, turns = build.KeptCodes, []
    for _ in range(given.repeats + 1):  # the first compiles
        ours = built(given.analysis, given.threads)
        build.KeptCodes = NoCodes  # type: ignore[misc]
        turns.append((ours, built(given.analysis, given.threads)))
        build.KeptCodes = reader  # type: ignore[misc]
    same = all(one.sha256 == other.sha256 for one, other in turns)
    print(f"codes of {size / 1e6:.1f} MB; the pages are equal: {same}")
    _say("clock", [(one.clock, other.clock) for one, other in turns[1:]])
    _say("processors", [(one.processors, other.processors) for one, other in turns[1:]])


def _say(what: str, turns: list[tuple[float, float]]) -> None:
    ours, theirs = (statistics.median(turn) for turn in zip(*turns, strict=True))
    ratio = statistics.median(one / other for one, other in turns)
    print(f"{what:<10} {ours:7.1f} s with codes {theirs:7.1f} s without, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
