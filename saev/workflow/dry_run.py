"""What a dry run says of jobs."""

import signal
from collections.abc import Callable
from functools import wraps
from typing import Any

from saev.workflow.stages import RULES
from saev.workflow.terminal import starting


def shorten(job_class: Any, rules_quiet: object, say: Callable[[str], None]) -> None:
    """Say of a job what it would do, and leave out what the profile hides anyway.

    Snakemake formats the files, the resources and three times the command of each job, and then
    hides them (`quiet: rules`). In a dry run of many jobs, that was a third of the time. It still
    does so for the first job of each rule, as that shows mistakes in options such as
    `--set-resources`.

    Args:
        job_class: Snakemake's class of jobs.
        rules_quiet: its word for the option that hides these messages.
        say: writes a line.
    """
    whole = job_class.log_info
    told: set[str] = set()

    @wraps(whole)
    def log_info(job: Any, *args: Any, **given: Any) -> None:
        rule, workflow = job.rule.name, job.dag.workflow
        shown = workflow.output_settings
        # A plugin that writes a log may want everything.
        hidden = rules_quiet in (shown.quiet or ()) and not shown.log_handler_settings
        if workflow.dryrun and hidden and rule in told:
            say(starting(rule, job.wildcards_dict))
        else:
            told.update({rule} & RULES.keys())
            whole(job, *args, **given)

    job_class.log_info = log_info


def end_unread() -> None:
    """End this process without a traceback if nobody reads its output any more: it loses nothing.

    Snakemake shows a traceback in place of it, as after `snakemake -n | head`.
    """
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
