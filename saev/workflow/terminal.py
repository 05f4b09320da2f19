"""What the terminal shows while the workflow runs: one line when a job starts and one when it ends.

Snakemake's own messages about rules, job numbers and shell commands stay in `.snakemake/log/`.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from saev.core import interrupts
from saev.core.system_errors import explained
from saev.workflow.stages import LEVELS, RULES

SILENT = (
    "Select jobs to execute",
    "Execute ",
    "Assuming unrestricted shared filesystem usage",
    "Using shell: ",
    "Provided cores: ",
    "Provided resources: ",
    "Rules claiming more threads",
    "Conda environments: ignored",
    "Finished jobid: ",
    "Shutting down, this might take some time",
    "Removing output files of failed job",  # the stamp alone: no result is removed
    "Exiting because a job execution failed",
    "WorkflowError:\nAt least one job did not complete successfully",
    "RuleException:\nCalledProcessError",
)
"""Prefixes of messages to hide: they tell a user nothing, or a job has already said it better."""
NOTHING = "Nothing to be done"
ENDING = "Will exit after finishing currently running jobs"
"""What Snakemake says after SIGTERM, again and again."""
WAITING = "Terminating processes on user request"
"""What Snakemake says when it begins to wait for the jobs that Ctrl-C stopped."""


def described(rule: str, wildcards: Mapping[str, str]) -> str:
    """A job in words: ``training cls (pets/tiny)``."""
    if rule not in RULES:
        return rule.replace("_", " ")
    names = [wildcards[level].rpartition("-")[0] for level in LEVELS if level in wildcards]
    *before, name = names or [""]
    number = int(wildcards.get("number", 0))
    place = f" ({'/'.join(before)})" if before else ""
    return RULES[rule][1].doing.format(name=name, number=number) + place


class Terminal(logging.Filter):
    """A filter for Snakemake's log that describes each job in words and hides needless messages.

    Args:
        say: writes a line.
        say_where: writes where the page is. Snakemake calls no handler if there is nothing to do.
    """

    def __init__(self, say: Callable[[str], None], say_where: Callable[[], None]) -> None:
        super().__init__()
        self.say, self.say_where = say, say_where
        self._started: dict[int, tuple[str, float]] = {}
        self._waiting = self._ending = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to show Snakemake's own message.

        Raises:
            SystemExit: Ctrl-C came, but Snakemake goes on.
        """
        if interrupts.came.is_set():
            self._stop(str(record.msg))
            return False
        event = str(getattr(getattr(record, "event", None), "value", ""))
        given: dict[str, Any] = record.__dict__
        if event == "job_info" and given["rule_name"] in RULES:
            words = described(given["rule_name"], given.get("wildcards") or {})
            self._started[given["jobid"]] = (words, time.monotonic())
            self.say(f"{words} …")
        elif (
            event == "job_finished"
            and (jobid := given.get("job_id", given.get("jobid"))) is not None
        ):
            if jobid in self._started:
                words, began = self._started.pop(jobid)
                self.say(f"{words}: done in {_duration(time.monotonic() - began)}")
        elif event == "job_error" and given.get("jobid") in self._started:
            words, _ = self._started.pop(given["jobid"])
            if self._ending:  # it had the same signal, or has said why it failed
                self.say(f"{words}: stopped; the same command resumes")
                return False
            logs = [str(path) for path in given.get("log") or () if Path(path).exists()]
            self.say(f"{words}: failed" + (f"; its log: {logs[0]}" if logs else ""))
        elif event == "error" and (refused := _refused()):
            self.say(f"error: {refused}")
            return False
        if str(record.msg).startswith(ENDING):
            if not self._ending and self._started:
                self.say("stopping: the jobs that run end first (Ctrl-C saves their states)")
            self._ending = True
            return False
        if str(record.msg).startswith(NOTHING):
            self.say_where()
        return not str(record.msg).startswith(SILENT)

    def _stop(self, message: str) -> None:
        """Say that Snakemake waits for jobs. Their end is no failure, so nothing more is said."""
        if message.startswith(WAITING):
            self._waiting = True
            if self._started:
                self.say("stopping: waiting until the jobs have saved their states …")
        elif not self._waiting and threading.current_thread() is threading.main_thread():
            # Snakemake swallows an exit that comes while it writes a message.
            raise SystemExit(130)


def _refused() -> str | None:
    """What the system refused to Snakemake itself, which would show where in its code that was."""
    error = sys.exc_info()[1]
    return explained(error) if isinstance(error, OSError | MemoryError) else None


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
