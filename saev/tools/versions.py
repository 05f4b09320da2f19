"""`saev accept` and `saev parity`: what a change of code changed in the results."""

import argparse
from collections.abc import Callable

from saev.core.errors import UserError
from saev.tools.options import add_configfile, require_cores

SHOWN = 6
"""Differences of a stage that the terminal shows."""
ACCEPT = """\
After a change of code that you think harmless: makes a sample of the stale results again with the
present code, compares it with what is there, and if all agrees marks the results as made by this
code. Then neither saev check nor snakemake -n lists them, and nothing is paid twice. The proof is
kept in their run.json. Where something differs, says what and by how much, and accepts nothing of
that kind.

Of a recording, the sample is one shard (the last, which need not be full); of an analysis, one
part; of other results, all. If a training took longer than --seconds, the sample is its first
--seconds, and its last steps, from the last state that it saved. Results of a stage are of one kind
if the same code made them from the same images, and if their settings differ in numbers and names
alone. Of each kind, --sample results are made again.
Exit status: 0 if all stale results are accepted, 1 if not, 2 after an error.

  saev accept
  saev accept analyze dashboard --sample 5
  saev accept train --trust
"""
PARITY = """\
Finds the stage whose code changed the result. Runs the stages on a small part of your images, in
mixes: first all with the code of OLD, then one stage after the other with that of NEW. Compares
what each mix gives. Each result is made once, however many mixes need it, and is kept in .parity/,
which you can remove at any time. Your results and your files aren't touched.

OLD and NEW are what git calls a revision, or worktree for the files as they are now. OLD may also
be a folder of results: then each stage of NEW runs on these results. Settings under parity: in
config.yaml say how many images are taken, how long the training is and what counts as rounding.
Exit status: 0 if the results are the same, 1 if they differ, 2 if it could not tell, or
after an error.

  saev parity main worktree
  saev parity v1.2 v1.3 --full
  saev parity /archive/results worktree
"""


def add_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the two commands with ``add(name, run, what, text)``."""
    accept = add("accept", _accept, "prove that changed code makes the same results", ACCEPT)
    accept.add_argument("stages", metavar="STAGE", nargs="*", help="stages (default: all)")
    accept.add_argument(
        "--sample",
        type=int,
        default=1,
        metavar="N",
        help="results made again of each kind, and shards or parts of each (default: 1)",
    )
    accept.add_argument(
        "--seconds",
        type=float,
        default=600,
        metavar="N",
        help="longest training that is made again as a whole (default: 600)",
    )
    accept.add_argument("--seed", type=int, default=0, help="seed of the sample (default: 0)")
    accept.add_argument(
        "--trust", action="store_true", help="accept all without a look, and note that in run.json"
    )
    parity = add("parity", _parity, "find the stage that makes two versions differ", PARITY)
    parity.add_argument("old", metavar="OLD", help="a revision, worktree, or a folder of results")
    parity.add_argument("new", metavar="NEW", help="a revision, or worktree")
    which = parity.add_mutually_exclusive_group()
    which.add_argument(
        "--full", action="store_true", help="make all mixes, not only those that the answer needs"
    )
    which.add_argument(
        "--alone",
        action="store_true",
        help="only switch each stage alone: fewer jobs, and no look at what follows from a change",
    )
    parity.add_argument(
        "--command",
        dest="commands",
        action="append",
        default=[],
        metavar="STAGE=COMMAND",
        help="run this in place of a stage of NEW; {activations} and the like stand for folders of "
        "results, {out} for the folder to write into",
    )
    parity.add_argument("--cores", type=int, metavar="N", help="cores to run on (default: all)")
    for one in (accept, parity):
        add_configfile(one)


def _accept(arguments: argparse.Namespace) -> int:
    from saev.parity.accept import Acceptance, Options
    from saev.parity.stale import PlannedResults
    from saev.settings.config import parse
    from saev.tools import present
    from saev.workflow.stages import STAGES

    known = [stage.name for stage in STAGES if stage.levels]
    wrong = [name for name in arguments.stages if name not in known]
    if wrong:
        raise UserError(f"there is no stage {wrong[0]}; there are {', '.join(known)}")
    if arguments.sample < 1:
        raise UserError(f"--sample {arguments.sample}: must be 1 or more")
    if arguments.results != "results":
        raise UserError("saev accept works on results/ of the current folder: leave out --results")
    plan = present.plan(arguments.configfile, arguments.results)
    options = Options(
        tuple(arguments.stages or known),
        arguments.sample,
        arguments.seconds,
        arguments.seed,
        arguments.trust,
    )
    settings = parse(plan.data["config"]).parity
    found = Acceptance(PlannedResults(plan), arguments.configfile, options, settings, print)
    return 0 if found.run() else 1


def _parity(arguments: argparse.Namespace) -> int:
    from saev.parity import hunt, report
    from saev.tools import present, texts

    require_cores(arguments.cores)
    plan = present.plan(arguments.configfile, arguments.results)
    mixes, told, folder = hunt.run(
        arguments.old,
        arguments.new,
        plan,
        arguments.cores,
        full=arguments.full,
        alone=arguments.alone,
        commands=arguments.commands,
    )
    print("\n".join([f"{told['old']} → {told['new']}, on {told['subject']}", ""]))
    print("\n".join(texts.table(report.rows(mixes))))
    print(f"{report.LEGEND}\n")
    for stage, verdict in report.details(mixes):
        more = len(verdict.texts) - SHOWN
        rest = [f"… {more} more in the report"] if more > 0 else []
        lines = [f"{stage}: {verdict.level.words}", *verdict.texts[:SHOWN], *rest]
        print("\n  ".join(lines))
    print(f"\n{report.answer(mixes)}\nThe report is in {folder}")
    return report.status(mixes)
