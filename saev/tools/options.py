"""Options that several commands take."""

import argparse

from saev.core.errors import UserError


def add_configfile(parser: argparse.ArgumentParser) -> None:
    """Add the option that names settings files."""
    parser.add_argument(
        "--configfile",
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE",
        help="settings files to merge into config.yaml, as for snakemake --configfile",
    )


def require_cores(n: int | None) -> None:
    """Refuse numbers of cores that aren't positive."""
    if n is not None and n < 1:
        raise UserError(f"--cores {n}: must be 1 or more")
