"""Draws the sweeps of all runs on a page of their own, for Snakemake's report.

python -m saev.dashboard.show_sweeps --spec JSON [--runs DIR …] --out results
"""

from pathlib import Path

from saev.core import frame
from saev.core.files import file_entry, write_bytes
from saev.core.once import Once
from saev.core.spec import read_spec
from saev.dashboard import artifact as names
from saev.dashboard.portable import sweeps_page
from saev.settings import from_plan
from saev.settings.pages import GallerySettings


def main(arguments: list[str]) -> None:
    """Command line of the page of sweeps."""
    parser = frame.parser(str(__doc__))
    frame.add_folders(parser, out="page of all runs")
    parser.add_argument(
        "--runs", type=Path, nargs="+", help="directories of analyses (default: those of the plan)"
    )
    args = parser.parse_args(arguments)
    spec = read_spec(args.spec)
    settings: GallerySettings = spec.parsed(GallerySettings)
    runs = args.runs or from_plan.analyses(args.out)
    # The page is cheap and shows files of all runs, so it is always drawn again.
    write_bytes(args.out / names.REPORT_SWEEPS, sweeps_page(args.out, runs, settings.sweeps))
    made = file_entry(args.out / names.REPORT_SWEEPS, names.REPORT_SWEEPS)
    Once(args.done, args.out, spec).finish([made], spec.code)


if __name__ == "__main__":
    frame.run(main)
