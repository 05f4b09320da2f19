"""What a job's log says to the user: its warnings, and why it failed."""

import re
from pathlib import Path
from typing import NamedTuple

from saev.core.errors import ENDED, FINAL

LINES = 20
"""Most lines of an error that are shown."""
ENTRY = re.compile(r"^\d\d:\d\d:\d\d (?P<error>(?:internal )?error: )?")

WARNING = re.compile(r"^\d\d:\d\d:\d\d (warning.*(?:\n(?!\d\d:\d\d:\d\d ).+)*)", re.M)
SLURM = re.compile(r"(slurmstepd\S*|srun): error: ")

NOT_FOR_MEMORY = re.compile(
    r"^(SLURM sbatch failed|Error submitting jobscript|Job submission failed)"
    r"|status is: '(CANCELLED|TIMEOUT|NODE_FAIL|PREEMPTED|BOOT_FAIL|DEADLINE)"
)
"""What the executors say of a job that the scheduler didn't take, or ended for what it says."""
REFUSED = re.compile(
    r"sbatch: (error|fatal): .*"
    r"([Ii]nvalid|unrecognized|is not available|not permitted|than permitted|can ?not be satisfied)"
)
"""What Slurm says of a job that it will never take as it is."""
NOT_FOR_READERS = re.compile(
    r"(For further error details see the cluster|\n\s*sbatch call:).*", re.S
)
"""The end of what the executors say: where no log is, and a command of 2,000 characters."""


class Failure(NamedTuple):
    """What the log of a failed job says."""

    error: list[str]
    """Lines of its last error. Empty if it wrote none, for example because it was killed."""
    final: bool
    """Whether the job says that trying again can't help."""
    ended_at: int | None = None
    """If it was asked to end: its peak of memory in MB."""


def changed(log: Path) -> int | None:
    """When a log was last written; None if there is none."""
    try:
        return log.stat().st_mtime_ns
    except OSError:
        return None


def of_log(log: Path) -> Failure:
    """Read the end of a log: the error that ended the job."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return Failure([], False)
    final = bool(lines) and lines[-1].endswith(FINAL)
    error: list[str] = []
    for line in lines[: len(lines) - final]:
        entry = ENTRY.match(line)
        if entry:
            error = [line[entry.start("error") :]] if entry["error"] else []
        elif error:  # the next line of a text of several lines
            error.append(line)
    if len(error) > LINES:
        error = [*error[:LINES], f"… {len(error) - LINES} more lines"]
    ended = lines[-1].partition(ENDED)[2].strip() if lines else ""
    return Failure(error, final, int(ended) if ended.isdigit() else None)


def warnings_of(log: Path) -> list[str]:
    """The warnings in a log, without the time."""
    try:
        return WARNING.findall(log.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return []


def of_scheduler(message: str) -> list[str]:
    """The lines of an executor's message that a user can use."""
    return [line.strip() for line in NOT_FOR_READERS.sub("", message).splitlines()]


def of_memory(lines: list[str]) -> bool:
    """Whether Slurm's last words on a job are of its memory, for which some clusters cancel it."""
    return any("memory" in line.lower() or "oom" in line.lower() for line in lines)


def last_lines(log: Path, n: int = 3) -> list[str]:
    """The last lines of any file that aren't empty; if Slurm wrote errors there, the last ones."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    by_slurm = dict.fromkeys(line for line in lines if SLURM.match(line))
    return list(by_slurm or [line for line in lines if line.strip()])[-n:]
