"""What the terminal shows while the workflow runs: one line when a job starts and one when it ends.

Snakemake's own messages about rules, job numbers and shell commands stay in `.snakemake/log/`.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from saev.core import interrupts
from saev.core.system_errors import explained
from saev.workflow import failures
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
    "Trying to restart job ",
    "Provided remote nodes: ",
    # Most clusters have a default account; one that doesn't refuses the first job and says why.
    "No SLURM account given",
    "No account was given, not able to get a SLURM account",
    "Unable to guess SLURM account",
    "Cleaning up SLURM log files",
)
"""Prefixes of messages to hide: they tell a user nothing, or a job has already said it better."""
NOTHING = "Nothing to be done"
ENDING = "Will exit after finishing currently running jobs"
"""What Snakemake says after SIGTERM, again and again."""
WAITING = "Terminating processes on user request"
"""What Snakemake says when it begins to wait for the jobs that Ctrl-C stopped."""
NOTICE_SECONDS = 1
"""How long a job that was asked to end waits for the news that all were."""


def described(rule: str, wildcards: Mapping[str, str]) -> str:
    """A job in words: ``training cls (pets/tiny)``."""
    if rule not in RULES:
        return rule.replace("_", " ")
    names = [wildcards[level].rpartition("-")[0] for level in LEVELS if level in wildcards]
    *before, name = names or [""]
    number = int(wildcards.get("number", 0))
    place = f" ({'/'.join(before)})" if before else ""
    return RULES[rule][1].doing.format(name=name, number=number) + place


def starting(rule: str, wildcards: Mapping[str, str]) -> str:
    """The line that says that a job starts."""
    return f"{described(rule, wildcards)} …"


class Started(NamedTuple):
    """A job that runs."""

    words: str
    began: float
    logs: dict[Path, int | None]
    """Its logs, and when each was last written before: by an earlier try, or never."""
    known: bool
    """Whether it belongs to a stage. Of a user's own rules only failures are said."""
    elsewhere: bool
    """Whether it runs where nobody sees what it says."""


class Terminal(logging.Filter):
    """A filter for Snakemake's log that describes each job in words and hides needless messages.

    Args:
        say: writes a line.
        say_where: writes where the page is. Snakemake calls no handler if there is nothing to do.
        tries_left: how often Snakemake will try a job again, by its number.
        give_up: keeps Snakemake from trying a job again, by its number.
        elsewhere: whether jobs run where nobody sees what they say, unless they are local ones.
        asked_to_end: is told the number of a job that had SIGTERM, and its peak of memory in MB.
        own: the names of the stages' rules, by those that Snakemake knows them by.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        say_where: Callable[[], None],
        tries_left: Callable[[int], int] = lambda job: 0,
        give_up: Callable[[int], None] = lambda job: None,
        elsewhere: bool = False,
        asked_to_end: Callable[[int, int], None] = lambda job, peak_mb: None,
        own: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        self.say, self.say_where = say, say_where
        self.tries_left, self.give_up, self.elsewhere = tries_left, give_up, elsewhere
        self.asked_to_end, self.own = asked_to_end, own
        self._started: dict[int, Started] = {}
        self._warned: set[str] = set()
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
        if event == "job_info":
            rule = self.own.get(given["rule_name"], given["rule_name"])
            known, there = rule in RULES, self.elsewhere and not given.get("local")
            told = rule, given.get("wildcards") or {}
            words = described(*told)
            logs = {Path(log): failures.changed(Path(log)) for log in given.get("log") or ()}
            self._started[given["jobid"]] = Started(words, time.monotonic(), logs, known, there)
            if known:
                self.say(starting(*told))
        elif (
            event == "job_finished"
            and (jobid := given.get("job_id", given.get("jobid"))) is not None
        ):
            ended = self._started.pop(jobid, None)
            if ended and ended.known:
                self.say(f"{ended.words}: done in {_duration(time.monotonic() - ended.began)}")
            if ended and ended.elsewhere:
                self._warn(ended)
        elif event == "group_error":
            together = len(given.get("job_error_info") or ())
            of = "".join(f"; its output: {log}" for log in (given.get("aux_logs") or ())[:1])
            self.say(f"a job of {together} that run together failed{of}")
        elif event == "job_error" and given.get("jobid") in self._started:
            if self._ending:  # it had the same signal, or has said why it failed
                self.say(
                    f"{self._started.pop(given['jobid']).words}: stopped; the same command resumes"
                )
                return False
            if self._by_ctrl_c(self._started[given["jobid"]]):
                self._stop(str(record.msg))
                return False
            self._failed(given["jobid"], given)
        elif event == "error" and (refused := _refused()):
            self.say(f"error: {refused}")
            return False
        if str(record.msg).startswith(ENDING):
            if not self._ending and any(job.known for job in self._started.values()):
                self.say("stopping: the jobs that run end first (Ctrl-C saves their states)")
            self._ending = True
            return False
        if str(record.msg).startswith(NOTHING):
            # Snakemake would say it after this, but the page's address comes last.
            self.say(str(record.msg))
            self.say_where()
            return False
        return not str(record.msg).startswith(SILENT)

    def _by_ctrl_c(self, job: Started) -> bool:
        """Whether Ctrl-C ended a job here. That may be known before Snakemake has the signal."""
        if job.elsewhere or all(failures.of_log(log).ended_at is None for log in job.logs):
            return False
        until = time.monotonic() + NOTICE_SECONDS
        while not interrupts.came.is_set() and time.monotonic() < until:
            time.sleep(0.02)
        return interrupts.came.is_set()

    def _failed(self, job: int, given: Mapping[str, Any]) -> None:
        """Say why a job failed. Only what it wrote itself since it started counts as the cause."""
        words, _, before, _, elsewhere = self._started.pop(job)
        written = [log for log, then in before.items() if failures.changed(log) not in (None, then)]
        if given.get("indent"):  # of a group: Snakemake calls them all failed
            done = all(Path(path).exists() for path in given.get("output") or ())
            if written and done:
                self.say(f"{words}: done")
            if done or not written:  # the one that failed kept it from starting
                return
        others = [Path(log) for log in given.get("log") or () if Path(log) not in before]
        shown = [log for log in (*written, *others) if log.exists()]
        self.say(f"{words}: failed" + (f"; its log: {shown[0]}" if shown else ""))
        failure = failures.of_log(written[0]) if written else failures.Failure([], False)
        by_scheduler, last = str(given.get("rule_msg") or ""), []
        if elsewhere:
            last = [line for log in shown[-1:] for line in failures.last_lines(log)]
            for line in failure.error or [*failures.of_scheduler(by_scheduler), *last]:
                self.say(f"  {line}")
        left = self.tries_left(job)
        if left and (failure.final or failures.REFUSED.search(by_scheduler)):
            self.give_up(job)
            self.say("  not tried again: it needs you")
        elif left:
            if failure.ended_at is not None:
                self.asked_to_end(job, failure.ended_at)
            elif failures.NOT_FOR_MEMORY.search(by_scheduler) and not failures.of_memory(last):
                self.asked_to_end(job, 0)
            self.say(f"  trying it again (at most {left} more)")

    def _warn(self, ended: Started) -> None:
        """Say what a job warned of where nobody saw it. Many jobs may warn of the same."""
        for warning in (text for log in ended.logs for text in failures.warnings_of(log)):
            if warning not in self._warned:
                self._warned.add(warning)
                for line in warning.splitlines():
                    self.say(f"  {line}")

    def _stop(self, message: str) -> None:
        """Say that Snakemake waits for jobs. Their end is no failure, so nothing more is said."""
        if message.startswith(WAITING):
            self._waiting = True
            if any(job.known for job in self._started.values()):
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
