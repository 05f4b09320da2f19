"""Says which jobs Slurm will never start. Snakemake would wait for them in silence."""

import re
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

NEVER = re.compile(
    r"(Partition(TimeLimit|NodeLimit|Config)|BadConstraints|Invalid(Account|QOS)|MaxMemPerLimit"
    r"|AccountNotAllowed|QOSNotAllowed|DependencyNeverSatisfied|(Assoc|QOS)Max\w+PerJob(Limit)?"
    r"|QOSMin\w+)\b"
)
"""Reasons for which a job waits until somebody changes it, or the cluster."""
HELD = re.compile(r"JobHeld(User|Admin)\b|JobHoldMaxRequeue\b|launch failed requeued held")
"""Those for which it waits until somebody releases it."""
FIRST_SECONDS, SECONDS = 20.0, 120.0
FORMAT = "%i|%r|%l|%m|%C|%b|%k|%Z"
"""Number, reason, time, memory, cores, GPUs, comment (Snakemake's name of the job), folder."""


class Watch:
    """Looks from time to time at the jobs that wait.

    Args:
        say: writes a line.
        squeue: the command that lists jobs.
    """

    def __init__(self, say: Callable[[str], None], squeue: str = "squeue") -> None:
        self.say, self.squeue = say, squeue
        self.said: set[str] = set()

    def start(self) -> None:
        """Look in a thread that ends with the program."""
        threading.Thread(target=self._run, name="pending jobs", daemon=True).start()

    def _run(self) -> None:
        wait = FIRST_SECONDS
        while True:
            threading.Event().wait(wait)
            self.look()
            wait = SECONDS

    def look(self) -> None:
        """Say of each job of this folder that will never start why, once."""
        try:
            listed = subprocess.run(
                [self.squeue, "--me", "--noheader", "--states=PENDING", f"--format={FORMAT}"],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            ).stdout
        except (OSError, subprocess.SubprocessError):
            return  # the next look may succeed; Snakemake says it if Slurm is gone
        for line in listed.splitlines():
            fields = line.split("|", FORMAT.count("|"))
            if len(fields) <= FORMAT.count("|"):
                continue
            number, reason, time, memory, cores, gpus, name, folder = fields
            if number in self.said or folder != str(Path.cwd()):
                continue
            if HELD.match(reason):
                self.said.add(number)
                self.say(
                    f"warning: Slurm holds the job {number} ({name}): {reason}. Once the cause is "
                    f"mended, run: scontrol release {number}"
                )
            if not NEVER.match(reason):
                continue
            self.said.add(number)
            more = "" if gpus in ("N/A", "") else f", {gpus}"
            self.say(
                f"warning: Slurm's job {number} ({name}) will never start: {reason}. It asks for "
                f"{time} of time, {memory} of memory, {cores} cores{more}. Stop with Ctrl-C, "
                f"change that in the profile (set-resources, set-threads) and start again"
            )
