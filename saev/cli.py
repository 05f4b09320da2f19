"""The `saev` command: looks after results. The workflow itself is run with `snakemake`."""

import argparse
import sys
from pathlib import Path

from saev.errors import UserError

DESCRIPTION = """\
Looks after the results of the workflow.

  snakemake --cores all         runs the workflow on config.yaml
  snakemake -n                  says what it would do
  saev check                    says which results are stale or altered, and why
"""


def main() -> None:
    """Entry point of the `saev` command."""
    parser = argparse.ArgumentParser(
        prog="saev", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    check = commands.add_parser(
        "check",
        help="name results that are stale or altered",
        description="Compares every result with what its meta.json and run.json say: files that were "
        "altered or are missing, inputs that have changed since, code that has changed since. Needs "
        "nothing but the results. Exit status: 0 if all is well, 1 if something was found.",
    )
    check.add_argument("--results", default="results", help="folder of results (default: results)")
    check.add_argument(
        "--deep",
        action="store_true",
        help="compare the SHA-256 of the activations' shards too, not their sizes alone (reads them)",
    )
    arguments = parser.parse_args()
    try:
        sys.exit(_check(arguments))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


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


if __name__ == "__main__":
    main()
