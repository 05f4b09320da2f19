"""How long Slurm's partitions let jobs run. A job that asks for more would wait for ever."""

import subprocess
from functools import reduce


def limits(sinfo: str = "sinfo") -> dict[str, int]:
    """The longest time of a job in each partition, in minutes; "" is the default partition.

    Those without a limit aren't there. Empty if Slurm doesn't answer.

    Args:
        sinfo: the command that lists partitions.
    """
    try:
        listed = subprocess.run(
            [sinfo, "--all", "--noheader", "--format=%P|%l"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    found = {}
    for line in listed.splitlines():
        name, _, limit = line.partition("|")
        days, _, clock = limit.strip().rpartition("-")
        parts = clock.split(":")
        if all(part.isdecimal() for part in (days or "0", *parts)):  # not "infinite" or "n/a"
            seconds = reduce(lambda total, part: total * 60 + int(part), parts, 0)
            found[name.rstrip("*")] = int(days or 0) * 24 * 60 + seconds // 60
            if name.endswith("*"):
                found[""] = found[name.rstrip("*")]
    return found


def longest(known: dict[str, int], partition: str) -> int | None:
    """The longest time of a job that names ``partition``; None if there is no limit.

    Args:
        known: what `limits` found.
        partition: its name, or several with commas; empty for the default one.
    """
    return min((known[name] for name in partition.split(",") if name in known), default=None)
