"""Makes the pages: `run` for one run, `gallery` for the list of all.

    python -m saev.dashboard run --spec JSON --analysis DIR --sae DIR --activations DIR \\
        --images DIR [--evaluation DIR …] --out DIR
    python -m saev.dashboard gallery --spec JSON [--runs DIR …] --out results
"""

import argparse
from pathlib import Path

from saev.activations.artifact import Activations
from saev.analyze.artifact import Analysis
from saev.core import frame, logs
from saev.core.errors import listed
from saev.core.files import file_entry, write_json
from saev.core.machine import job_device, set_threads
from saev.core.once import Once
from saev.core.provenance import Provenance
from saev.core.spec import read_spec
from saev.core.state import state
from saev.dashboard import artifact as names
from saev.dashboard.comparisons import reports
from saev.dashboard.gallery import all_runs, build_gallery
from saev.dashboard.run_costs import write_costs
from saev.evaluate.artifact import Evaluation
from saev.images.artifact import Images
from saev.images.decode import take_over_pillow
from saev.settings import from_plan
from saev.settings.pages import GallerySettings, PageSettings


def main(arguments: list[str]) -> None:
    """Command line of the dashboard stage."""
    commands = frame.Commands(str(__doc__))
    run = commands.add("run", _run, "make the page of one run")
    for name in ("analysis", "sae", "activations", "images"):
        run.add_argument(
            f"--{name}",
            type=Path,
            required=True,
            help=f"directory of the {'dictionary' if name == 'sae' else name}",
        )
    run.add_argument(
        "--evaluation",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="directory of an evaluation; may be given several times: the page shows the first",
    )
    gallery = commands.add("gallery", _gallery, "make the page that lists all runs")
    gallery.add_argument(
        "--runs",
        type=Path,
        nargs="+",
        help="directories of analyses (default: those of the plan)",
    )
    for command in (run, gallery):
        command.add_argument("--out", type=Path, required=True, help="directory of the page")
    commands.run(arguments)


def _gallery(args: argparse.Namespace) -> None:
    spec = read_spec(args.spec)
    settings: GallerySettings = spec.parsed(GallerySettings)
    sweeps = {entry: list(points) for entry, points in settings.sweeps.items()}
    runs = all_runs(args.out, args.runs or from_plan.analyses(args.out))
    made = [(str(run.folder), run.current, run.made()) for run in runs]
    compared = reports(args.out)
    write_costs(args.out, [run.folder for run in runs])
    once = Once(args.done, args.out, spec, made, compared)
    if once.there():
        return once.take_up()
    left_out = build_gallery(args.out, runs, sweeps, compared)
    if left_out:
        logs.say(listed(left_out, f"{len(left_out):,} runs of other settings aren't on the page:"))
        once = Once(
            args.done, args.out, spec, made, compared, left_out
        )  # they may be whole the next time
    once.finish([file_entry(args.out / names.PAGE), {"name": names.COSTS}], spec.code)


def _run(args: argparse.Namespace) -> None:
    spec = read_spec(args.spec)
    provenance = Provenance(names.STAGE, spec.code, args.threads)
    set_threads(args.threads)
    take_over_pillow()
    settings: PageSettings = spec.parsed(PageSettings)
    analysis = Analysis(args.analysis)
    activations, images = Activations(args.activations, verify="sha256"), Images(args.images)
    evaluation = Evaluation(args.evaluation[0]) if args.evaluation else None
    others = [path.name for path in args.evaluation[1:]]
    inputs = [analysis.digest, activations.digest, images.digest]
    if evaluation:
        inputs += [evaluation.path.name, evaluation.digest, *others]
    key = (spec.settings, inputs, spec.code)
    once = Once(args.done, args.out, *key)
    with state(args.out, *key) as held:
        if once.there():
            once.take_up()
            return held.discard()
        from saev.dashboard.build import build  # PyTorch takes seconds to import

        frame.require_same_code()
        summary = build(
            args.out,
            held.folder,
            analysis=analysis,
            sae_folder=args.sae,
            activations=activations,
            images=images,
            evaluation=evaluation,
            others=others,
            credit=settings.credit,
            threads=args.threads,
            device=job_device(from_plan.compute().device),
        )
        provenance.write(args.out)
        write_json(args.out / names.SUMMARY, summary)
        made = file_entry(args.out / names.SUMMARY)
        once.finish([*summary["files"], made, {"name": names.RUN}])
        held.discard()


if __name__ == "__main__":
    frame.run(main)
