"""`saev plan`: the jobs still to do, how much they write, and how long they may take."""

import os
from collections import Counter
from pathlib import Path
from statistics import median

from saev.core.progress import duration, quantity
from saev.tools import sizes, texts
from saev.tools.pace import work
from saev.tools.rerun import starts
from saev.workflow import jobs
from saev.workflow.plan import Plan


def lines(plan: Plan, settings: str, cores: int | None) -> list[str]:
    """The whole report."""
    planned = jobs.jobs(plan)
    missing = jobs.missing(planned)
    makers = len(_other_rules(missing))
    todo, total = len(missing) + makers, len(planned) + makers
    runs = texts.count(len(plan.runs), "run")
    text = [f"{settings}: {runs}, {todo:,} of {total:,} jobs to do"]
    if missing:
        text += ["", *_jobs(planned, missing), "", *sizes.lines(plan, missing)]
        text += ["", *_times(plan, missing, cores or os.cpu_count() or 1)]
    return [
        *text,
        "",
        "This looks only at which files exist. For results made by older code, see saev run -n.",
    ]


def _other_rules(missing: list[jobs.Job]) -> list[str]:
    """Images that a rule outside of saev must make first."""
    found = {job.ready for job in missing if job.ready and not Path(job.ready).exists()}
    return sorted(found)


def counts(missing: list[jobs.Job]) -> dict[str, int]:
    """Jobs by rule."""
    return dict(Counter(job.rule for job in missing))


def _jobs(planned: list[jobs.Job], missing: list[jobs.Job]) -> list[str]:
    total, left = counts(planned), counts(missing)
    rows = [["job", "to do", "of"]]
    rows += [[f"rule that makes {source}", "1", "1"] for source in _other_rules(missing)]
    rows += [[rule, f"{left[rule]:,}", f"{total[rule]:,}"] for rule in total if rule in left]
    return texts.table(rows, right={1, 2})


def _times(plan: Plan, missing: list[jobs.Job], cores: int) -> list[str]:
    works = work(plan, missing)
    threads = plan.data["compute"]["threads"] or cores
    side_by_side = max(1, cores // threads)
    rows, total, unknown = [["to do", "amount", "rate here", "time"]], 0.0, False
    for one in works:
        amount = "unknown" if one.amount is None else f"{one.amount:,} {one.unit}"
        rate, time = "no rate measured yet", "unknown"
        if one.rates:
            rate = f"{quantity(median(one.rates))} {one.unit}/s"
        if one.rates and one.amount is not None:
            seconds = one.amount / median(one.rates)
            total, time = total + seconds, duration(seconds)
        unknown = unknown or time == "unknown"
        rows.append([one.what, amount, rate, time])
    each = starts(Path(plan.results))
    amount, rate, time = f"{len(missing):,} jobs", "no start measured yet", "unknown"
    if each:
        seconds = len(missing) * median(each)
        rate, time, total = f"{median(each):.1f} s each", duration(seconds), total + seconds
    unknown = unknown or not each
    rows.append(["start jobs", amount, rate, time])
    end = f"{'at least ' * unknown}{duration(total / side_by_side)} in total on {cores} cores"
    if total == 0:
        end = "total time unknown"
    return [*texts.table(rows, right={1, 2, 3}), f"{end}, plus the time to make pages"]
