"""Finishes the page of a run: names that people gave, and what Snakemake's report shows of it.

    python -m saev.dashboard.finish_page --spec JSON --analysis DIR --out DIR

These change without the page, which isn't built again for them.
"""

from saev.core import frame
from saev.core.files import file_entry, sha256_file, write_bytes
from saev.core.once import Once
from saev.core.spec import read_spec
from saev.dashboard import artifact as names
from saev.dashboard.given_names import write_given
from saev.dashboard.portable import run_page
from saev.evaluate.artifact import SCORES
from saev.settings.pages import BesideSettings
from saev.train.artifact import PLOT


def main(arguments: list[str]) -> None:
    """Command line of what finishes a page."""
    parser = frame.parser(str(__doc__))
    frame.add_folders(parser, analysis="analysis", out="page")
    args = parser.parse_args(arguments)
    spec = read_spec(args.spec)
    given: BesideSettings = spec.parsed(BesideSettings)
    page, scores = sha256_file(args.out / names.SUMMARY), args.out / SCORES
    scored = sha256_file(scores) if given.score_names and scores.exists() else None
    once = Once(args.done, args.out, spec.settings, spec.code, page, scored)
    if once.there():
        return once.take_up()
    sae, results = args.analysis.parent, args.analysis.parents[3]
    write_given(args.out, sae.relative_to(results).as_posix(), given)
    shown, curves = args.out / names.REPORT_RUN, args.out / names.REPORT / PLOT
    write_bytes(shown, run_page(results, args.analysis))
    write_bytes(curves, (sae / PLOT).read_bytes())
    made = [file_entry(args.out / names.GIVEN), file_entry(shown, names.REPORT_RUN)]
    plot = {"name": curves.relative_to(args.out).as_posix()}
    once.finish([*made, plot], spec.code, {names.STAGE: page})


if __name__ == "__main__":
    frame.run(main)
