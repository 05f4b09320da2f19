"""The `saev` command: runs the workflow and looks after its results."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from saev.core import logs, stop
from saev.core.errors import UserError
from saev.core.system_errors import explained
from saev.tools import sharing, versions
from saev.tools.options import add_configfile, require_cores
from saev.tools.unread import ending_unread
from saev.workflow.digests import FILES

DESCRIPTION = """\
Runs the workflow and looks after its results.

  saev init DIR                 makes a folder with settings to start from
  saev run                      runs the workflow on config.yaml
  saev run -n                   shows what it would do
  saev plan                     shows the jobs left to do, their bytes and minutes
  saev check                    finds results that are stale or altered, and says why
  saev ls                       lists all results, with metrics and sizes
  saev diff A B                 finds the stage that makes two results differ
  saev gc                       lists what the settings no longer use; --delete removes it
  saev accept                   proves on a sample that changed code makes the same results
  saev parity OLD NEW           finds the stage that makes two versions of the code differ
  saev borrow DIR               uses the recordings of another project, which it only reads
  saev export RUN --to … DIR    writes a dictionary in the format of another library
  saev push RUN OWNER/NAME      puts a dictionary on the Hugging Face hub
"""
INIT = """\
Makes a folder with a config.yaml to start from: the demo, or your images. Overwrites nothing.

  saev init demo
  saev init mine --images /data/birds
"""
RUN = """\
Runs the workflow in the current folder, on its config.yaml. All arguments go to Snakemake, which
uses the workflow's default profile and all cores, unless you say otherwise. Results lie in
results/. Without a config.yaml, --configfile names the settings. In a clone of saev, this is the
same as snakemake --cores all.

  saev run -n                            what would run, and why
  saev run --cores 4 train               up to a stage, on 4 cores
  saev run --forcerun train              this stage and all after it
  saev run --workflow-profile slurm      one of the workflow's own profiles (or the path of yours)

The rules, profiles, examples and docs lie in
"""
CHECK = """\
Compares every result with its meta.json and run.json. Reports files that were altered or are
missing, and inputs and code that have changed since the result was made. Says how long stale
results took, and how to make them again. Needs only the results, and compares tables of labels;
--deep also needs your images.
Exit status: 0 if all is well, 1 if there is a problem.
"""
LS = """\
Lists all directories under results/, each below the one it was made from. Shows the last finished
stage, the nmse on training and held-out images, l0, dead latents and the size (without directories
listed below). A directory without a readable meta.json is incomplete.

  saev ls
  saev ls --json | python -c 'import json, sys; print(len(json.load(sys.stdin)))'
"""
DIFF = """\
Compares two results of the same stage (directories of images, activations, dictionaries or
analyses) and everything they were made from. Shows differences in settings, code, inputs and files,
then the metrics side by side. The last line names the stages that cause the difference. Exit
status: 0 if the results are the same, 1 if they differ, 2 after an error.

  saev diff openmoji-1a2b3c4d/clip-5e6f7a8b/cls-11111111 \\
            openmoji-1a2b3c4d/clip-5e6f7a8b/cls-22222222
"""
GC = """\
Lists what no run of the current settings uses: directories at every level, states of stopped jobs
whose result is complete, temporary files of dead processes, matches of runs that are gone, old
plans and listings. If you ran the workflow with --configfile, give the same files here; what other
files use is listed apart.

--delete removes all of these but directories of results. It removes directories of results only if
you name them, and asks first (unless you add --yes). It never removes what saev didn't make,
never follows symbolic links, and refuses to work while the workflow runs.

--codes adds the codes that analyses of these settings keep. They may go: no result changes and
nothing runs again, but the next page or evaluation of such an analysis takes longer.

  saev gc --configfile mine.yaml
  saev gc --delete
  saev gc --codes --delete
  saev gc --delete results/pets-1a2b3c4d/clip-5e6f7a8b/cls-11111111
"""
BORROW = """\
Uses the recordings of another project: links those in DIR that the current settings need, if the
same code made them from the same images and tower. Copies nothing and never writes into DIR, which
may be read-only. Several projects may borrow from one at once. Afterwards, run the workflow: its
jobs verify every linked file, and dictionaries are written here. To give a recording back, remove
its folder in results/.

  saev borrow /shared/imagenet
  saev borrow /shared/imagenet --configfile mine.yaml
"""
PLAN = """\
Shows which jobs the current settings still need, how many bytes they write, and how long they may
take, judged by earlier results on this machine. Runs none of them.

  saev plan --configfile mine.yaml --cores 8
"""


@ending_unread()
def main() -> None:
    """Entry point of the `saev` command."""
    own, passed = sys.argv[1:], []
    if own[:1] == ["run"] and own[1:2] not in (["-h"], ["--help"]):
        own, passed = own[:1], own[1:]
    arguments = _parser().parse_args(own or ["--help"])
    arguments.passed = passed
    logs.start()
    stop.listen()
    try:
        sys.exit(arguments.run(arguments))
    except (UserError, OSError) as error:
        said = error if isinstance(error, UserError) else explained(error)
        if said is None:
            raise
        print(f"error: {said}", file=sys.stderr)
        sys.exit(2 if arguments.command in ("accept", "diff", "parity") else 1)


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="saev", description=DESCRIPTION, formatter_class=raw)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(
        name: str,
        run: Callable[[argparse.Namespace], int],
        what: str,
        text: str,
        results: bool = True,
    ) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=what, description=text, formatter_class=raw)
        if results:
            made.add_argument(
                "--results", default="results", help="folder of results (default: results)"
            )
        made.set_defaults(run=run)
        return made

    init = add("init", _init, "make a folder with settings to start from", INIT, False)
    init.add_argument("folder", metavar="DIR", type=Path, help="the folder to make")
    init.add_argument(
        "--images", metavar="PATH", help="your images: a folder, a .parquet file or a .tar"
    )
    launch = add("run", _run, "run the workflow, as snakemake does", f"{RUN}{FILES}", False)
    launch.usage = "saev run [SNAKEMAKE'S ARGUMENTS]"
    check = add("check", _check, "find results that are stale or altered", CHECK)
    check.add_argument(
        "--deep",
        action="store_true",
        help="read all activations, pages, images and labels, and compare more than their sizes",
    )
    ls = add("ls", _ls, "list all results, with metrics and sizes", LS)
    ls.add_argument(
        "--json", action="store_true", help="print JSON, with full names and exact metrics"
    )
    diff = add("diff", _diff, "find the stage that makes two results differ", DIFF)
    diff.add_argument(
        "a", metavar="A", help="a directory, relative to the current folder or to the results"
    )
    diff.add_argument("b", metavar="B", help="another directory of the same stage")
    gc = add("gc", _gc, "list or remove what the settings no longer use", GC)
    gc.add_argument(
        "--delete",
        nargs="*",
        metavar="DIR",
        help="remove temporary files, states, plans and listings, and the listed directories that "
        "you name",
    )
    gc.add_argument(
        "--codes", action="store_true", help="list or remove the codes of analyses, too"
    )
    gc.add_argument("--yes", action="store_true", help="remove directories without asking")
    plan = add(
        "plan", _plan, "show the jobs left to do, what they write and how long they take", PLAN
    )
    plan.add_argument("--cores", type=int, metavar="N", help="cores to run on (default: all)")
    borrow = add("borrow", _borrow, "use the recordings of another project", BORROW)
    borrow.add_argument(
        "lender", metavar="DIR", type=Path, help="another project, or its folder of results"
    )
    versions.add_commands(add)
    sharing.add_commands(add)
    for one in (gc, plan, borrow):
        add_configfile(one)
    return parser


def _init(arguments: argparse.Namespace) -> int:
    from saev.tools.begin import begin

    print("\n".join(begin(arguments.folder, arguments.images)))
    return 0


def _run(arguments: argparse.Namespace) -> int:
    from saev.tools.launch import launch

    launch(arguments.passed)
    return 1


def _check(arguments: argparse.Namespace) -> int:
    from saev.tools.check import check
    from saev.tools.check_inputs import UNSEEN
    from saev.tools.rerun import advice

    if not Path(arguments.results).is_dir():
        raise UserError(f"there is no folder {arguments.results}: nothing has been made here yet")
    findings, n_results = check(arguments.results, arguments.deep)
    for finding in findings:
        print(f"{finding.kind:<10} {finding.folder}: {finding.text}")
    if any(finding.kind != UNSEEN for finding in findings):
        if any(finding.kind == "altered" for finding in findings):
            print("\nRemove altered results first, then run the workflow again.")
        print("\n".join(["", *advice(Path(arguments.results), findings)]).rstrip())
        return 1
    print(f"{n_results} results: all are complete, unaltered and made by this code.")
    if not arguments.deep:
        print(
            "Only the sizes of activations, parts, codes and large pages were compared; images "
            "weren't looked at, nor were labels that come with them. To read them all: saev check "
            "--deep"
        )
    elif findings:
        print("The check says nothing about what wasn't seen (above).")
    else:
        print("Your images and labels are those that the results were made from.")
    return 0


def _ls(arguments: argparse.Namespace) -> int:
    from saev.tools import ls, tree

    results = tree.existing(arguments.results)
    entries = ls.listing(results)
    text = (
        json.dumps(entries, indent=1) if arguments.json else "\n".join(ls.lines(results, entries))
    )
    print(text)
    return 0


def _diff(arguments: argparse.Namespace) -> int:
    from saev.tools import diff

    folders = (diff.resolved(path, arguments.results) for path in (arguments.a, arguments.b))
    lines, differ = diff.compare(*folders)
    print("\n".join(lines))
    return int(differ)


def _gc(arguments: argparse.Namespace) -> int:
    from saev.tools import garbage, tree

    results = tree.existing(arguments.results)
    agreed = _agreed if not arguments.yes else lambda question: True
    given = (arguments.configfile, arguments.delete, agreed, arguments.codes)
    print("\n".join(garbage.run(results, *given)))
    return 0


def _borrow(arguments: argparse.Namespace) -> int:
    from saev.tools import borrow

    for line in borrow.run(arguments.lender, Path(arguments.results), arguments.configfile):
        print(line)
    return 0


def _agreed(question: str) -> bool:
    """Ask the person at the terminal.

    Raises:
        UserError: there is nobody to ask.
    """
    if not sys.stdin.isatty():
        raise UserError(
            "there is no terminal to ask you: add --yes to remove directories of results"
        )
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def _plan(arguments: argparse.Namespace) -> int:
    from saev.tools import estimate, present

    require_cores(arguments.cores)
    plan = present.plan(arguments.configfile, arguments.results)
    described = present.described(arguments.configfile)
    print("\n".join(estimate.lines(plan, described, arguments.cores)))
    return 0


if __name__ == "__main__":
    main()
