"""What a rerun costs: seconds that jobs took here to start, and that stale results took to make."""

import math
import socket
from collections.abc import Iterable
from pathlib import Path

from saev.core.benchmark_files import measured, told
from saev.core.meta import RUN
from saev.core.progress import duration
from saev.tools import tree
from saev.tools.check_inputs import Finding
from saev.workflow.stages import RULES, STAGES


def starts(results: Path) -> list[float]:
    """Seconds that jobs spent on this machine outside of their work: Python, PyTorch, the end.

    Snakemake has measured the whole job. A `run.json` says how long its work took. A job that found
    its result whole has none of its own, so its times don't fit together and don't count.
    """
    found = []
    for stage, rule in RULES.values():
        if RUN not in rule.outputs.values() or rule.each:
            continue
        pattern = "/".join("*" if "{" in part else part for part in stage.folder.split("/")[1:])
        for path in results.glob(f"{pattern}/{RUN}"):
            run, whole = told(path.parent), measured(results, path.parent, rule.name)
            here = run.get("host") == socket.gethostname()
            if here and whole is not None and whole.seconds >= run.get("seconds", math.inf):
                found.append(whole.seconds - float(run["seconds"]))
    return found


def advice(results: Path, findings: Iterable[Finding]) -> list[str]:
    """What making stale results again cost before, and the commands for it; empty if none is stale.

    A result lies in the directory of what it was made from, so all below a stale one come again. So
    do analyses of stale labels. What one rule put beside a page comes again alone.
    """
    found = [finding for finding in findings if finding.kind == "stale"]
    rules = sorted({finding.rule for finding in found if finding.rule})
    stale = {finding.folder for finding in found if not finding.rule}
    if stale:
        users = tree.users_of_labels(results)
        stale = stale.union(*(users.get(folder, ()) for folder in stale))
    roots = [
        folder for folder in sorted(stale) if not any(other in folder.parents for other in stale)
    ]
    if not (roots or rules):
        return []
    runs = [told(path.parent) for folder in roots for path in sorted(folder.rglob(RUN))]
    times = [r["seconds"] + r.get("recording_seconds", 0) for r in runs if "seconds" in r]
    alone = {(finding.folder, finding.rule) for finding in found if finding.rule}
    times += [whole.seconds for one in alone if (whole := measured(results, *one)) is not None]
    made = {told(folder).get("stage") for folder in roots}
    first = [stage.name for stage in STAGES if stage.name in made][:1] or [STAGES[0].name]
    forced = " ".join([*first * bool(roots), *rules])
    took = "unknown time"
    if times:
        took = f"{duration(sum(times))} before, not counting the starts of jobs"
    proof = ["If the change of code is harmless, saev accept proves it on a sample instead."]
    return [
        f"Stale results, and those made from them, took {took}. To make them again:",
        "  snakemake --cores all",
        f"  snakemake --cores all --forcerun {forced}"
        f"    # after --touch, or if .snakemake/ is lost",
        *proof * bool(roots),
        "Add the --configfile of its settings. saev gc names results whose settings are gone.",
    ]
