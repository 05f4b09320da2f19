"""Strike the tiny project many times and print what came of it, fault by stage.

    python -m tests.faults --runs 200 --seed 0

Each strike copies a whole project, undoes a stage or damages a file, strikes, and runs the same
command again. Strikes that weren't survived are printed with their seeds; `--runs 1 --seed N`
repeats one. The exit status is 1 if anything was lost.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from faults.jobs import STAGES
from faults.run import FAULTS, Strike, chosen, run, scratch_folder
from faults.strikes import LOST, NOT_TRIED, SURVIVED, VERDICTS, Outcome
from faults.template import build, workers

COLUMNS = ("tried", *VERDICTS[:3], "paid twice", "tracebacks")


def main() -> int:
    given = parsed()
    done: list[tuple[Strike, Outcome]] = []
    with (
        workers(given.processes) as pool,
        ThreadPoolExecutor(given.processes) as threads,
        tempfile.TemporaryDirectory(dir=scratch_folder()) as scratch,
    ):
        began = time.monotonic()
        template = build(pool, Path(scratch, "template"))
        say(f"made the project in {time.monotonic() - began:.0f} s")

        def one(seed: int) -> None:
            if time.monotonic() - began > 60 * given.minutes:
                return
            strike = chosen(seed)
            outcome = run(pool, template, strike, Path(scratch, f"strike-{seed}"))
            done.append((strike, outcome))
            if outcome.verdict != SURVIVED or outcome.paid_twice or outcome.tracebacks or given.all:
                say(f"{seed}: {strike.fault}, {strike.stage}: {outcome.verdict}: {outcome.told}")

        list(threads.map(one, range(given.seed, given.seed + given.runs)))
        say(f"{len(done)} strikes in {(time.monotonic() - began) / 60:.1f} min\n")
    print("\n".join(table(done)))
    return int(any(outcome.verdict == LOST for _, outcome in done))


def parsed() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m tests.faults", None, __doc__, formatter_class=raw)
    parser.add_argument("--runs", type=int, default=200, help="how many strikes")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first; the rest count on")
    parser.add_argument("--processes", type=int, default=2, help="how many strikes at a time")
    parser.add_argument(
        "--minutes", type=float, default=600, help="start no more strikes after so many minutes"
    )
    parser.add_argument("--all", action="store_true", help="print every strike")
    return parser.parse_args()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def counts(outcomes: list[Outcome]) -> list[int]:
    """The figures of `COLUMNS`."""
    verdicts = Counter(outcome.verdict for outcome in outcomes)
    return [
        len(outcomes) - verdicts[NOT_TRIED],
        *(verdicts[verdict] for verdict in VERDICTS[:3]),
        sum(outcome.paid_twice for outcome in outcomes),
        sum(outcome.tracebacks for outcome in outcomes),
    ]


def table(done: list[tuple[Strike, Outcome]]) -> list[str]:
    """A table in Markdown: a line for each fault, with what it did to each stage, and a total."""
    lines = [
        f"| fault | {' | '.join(STAGES)} | {' | '.join(COLUMNS)} |",
        "| --- |" + " --- |" * (len(STAGES) + len(COLUMNS)),
    ]
    for fault in (*FAULTS, "all"):
        mine = [(s, o) for s, o in done if fault in (s.fault, "all")]
        if mine:
            cells = [in_cell([o for s, o in mine if s.stage == stage]) for stage in STAGES]
            figures = [f"{n}" for n in counts([o for _, o in mine])]
            lines.append(f"| {fault} | {' | '.join([*cells, *figures])} |")
    return [*lines, "", "A cell counts survived + detected / tried."]


def in_cell(outcomes: list[Outcome]) -> str:
    tried, survived, detected, *_ = counts(outcomes)
    return f"{survived} + {detected} / {tried}" if tried else ""


if __name__ == "__main__":
    sys.exit(main())
