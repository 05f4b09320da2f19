"""The `saev` command: looks after results. The workflow itself is run with `snakemake`."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from saev.errors import UserError

DESCRIPTION = """\
Looks after the results of the workflow.

  snakemake --cores all         runs the workflow on config.yaml
  snakemake -n                  says what it would do
  saev plan                     says how many jobs, bytes and minutes are still to come
  saev check                    says which results are stale or altered, and why
  saev ls                       lists what is there, with figures and sizes
  saev diff A B                 says which stage makes two results differ
  saev gc                       lists what the settings no longer reach; --delete removes it
"""
CHECK = """\
Compares every result with what its meta.json and run.json say: files that were altered or are missing, inputs
that have changed since, code that has changed since. Needs nothing but the results. Exit status: 0 if all is
well, 1 if something was found.
"""
LS = """\
Lists every directory under results/, a stage's inside the one that it was made from: the stage reached,
nmse on the images trained on and held out, l0, dead latents, and the size of its own files (a
directory's size is without those listed below it). A directory without a readable meta.json is incomplete.

  saev ls
  saev ls --json | python -c 'import json, sys; print(len(json.load(sys.stdin)))'
"""
DIFF = """\
Compares two results of the same stage (directories of images, activations, dictionaries or analyses), and all
that they were made from: settings, code, inputs and files, then the figures beside each other. The last line
names the stages that the difference comes from. Exit status: 0 if they are the same, 1 if they differ,
2 after an error.

  saev diff openmoji-1a2b3c4d/clip-5e6f7a8b/cls-11111111 openmoji-1a2b3c4d/clip-5e6f7a8b/cls-22222222
"""
GC = """\
Lists what no run of the present settings uses: directories at every level, states of stopped runs whose result
is complete, temporary files of dead processes, old plans and listings. Results of another file of settings
count as unused unless you name it with --configfile. Nothing is removed without --delete, and then nothing
that saev hasn't made, nothing behind symbolic links, and nothing while the workflow runs.

  saev gc --configfile mine.yaml
  saev gc --configfile mine.yaml --delete
"""
PLAN = """\
Says, before anything runs, which jobs the present settings still need, how many bytes of activations they
write, and how long they may take by the rates of earlier results on this machine.

  saev plan --configfile mine.yaml --cores 8
"""


def main() -> None:
    """Entry point of the `saev` command."""
    arguments = _parser().parse_args()
    try:
        sys.exit(arguments.run(arguments))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if arguments.command == "diff" else 1)


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="saev", description=DESCRIPTION, formatter_class=raw)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(
        name: str, run: Callable[[argparse.Namespace], int], what: str, text: str
    ) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=what, description=text, formatter_class=raw)
        made.add_argument(
            "--results", default="results", help="folder of results (default: results)"
        )
        made.set_defaults(run=run)
        return made

    check = add("check", _check, "name results that are stale or altered", CHECK)
    check.add_argument(
        "--deep",
        action="store_true",
        help="compare the SHA-256 of the activations' shards too, not their sizes alone (reads them)",
    )
    ls = add("ls", _ls, "list what is there, with figures and sizes", LS)
    ls.add_argument("--json", action="store_true", help="as JSON, names in full and figures exact")
    diff = add("diff", _diff, "say which stage makes two results differ", DIFF)
    diff.add_argument("a", metavar="A", help="a directory, as it stands or under the results")
    diff.add_argument("b", metavar="B", help="another of the same stage")
    gc = add("gc", _gc, "list or remove what the settings no longer reach", GC)
    gc.add_argument("--delete", action="store_true", help="remove what is listed")
    plan = add("plan", _plan, "say what is still to be done, written and waited for", PLAN)
    plan.add_argument("--cores", type=int, metavar="N", help="cores to run on (default: all)")
    for one in (gc, plan):
        one.add_argument(
            "--configfile",
            nargs="+",
            action="extend",
            default=[],
            metavar="FILE",
            help="settings over config.yaml, as snakemake --configfile takes them",
        )
    return parser


def _check(arguments: argparse.Namespace) -> int:
    from saev.check import check

    if not Path(arguments.results).is_dir():
        raise UserError(f"there is no folder {arguments.results}: nothing was made here yet")
    findings, n_results = check(arguments.results, arguments.deep)
    for finding in findings:
        print(f"{finding.kind:<10} {finding.folder}: {finding.text}")
    if findings:
        print("\nRunning the workflow again mends what is stale. What is altered: remove it first.")
        return 1
    print(f"{n_results} results, all complete, unaltered, and made by this code from these inputs.")
    return 0


def _ls(arguments: argparse.Namespace) -> int:
    from saev.housekeeping import ls, tree

    results = tree.existing(arguments.results)
    entries = ls.listing(results)
    text = (
        json.dumps(entries, indent=1) if arguments.json else "\n".join(ls.lines(results, entries))
    )
    print(text)
    return 0


def _diff(arguments: argparse.Namespace) -> int:
    from saev.housekeeping import diff

    folders = (diff.resolved(path, arguments.results) for path in (arguments.a, arguments.b))
    lines, differ = diff.compare(*folders)
    print("\n".join(lines))
    return int(differ)


def _gc(arguments: argparse.Namespace) -> int:
    from saev.housekeeping import gc, tree

    results = tree.existing(arguments.results)
    print("\n".join(gc.run(results, arguments.configfile, arguments.delete)))
    return 0


def _plan(arguments: argparse.Namespace) -> int:
    from saev.housekeeping import estimate, settings

    if arguments.cores is not None and arguments.cores < 1:
        raise UserError(f"--cores {arguments.cores}: must be 1 or more")
    plan = settings.plan(arguments.configfile, arguments.results)
    described = settings.described(arguments.configfile)
    print("\n".join(estimate.lines(plan, described, arguments.cores)))
    return 0


if __name__ == "__main__":
    main()
