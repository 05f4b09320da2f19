"""Makes the pages: `run` for one run, `gallery` for the list of all.

python -m saev.dashboard run --analysis DIR --sae DIR --activations DIR --images DIR --out DIR
python -m saev.dashboard gallery --runs DIR … --out results
"""

from pathlib import Path

from saev import stage
from saev.artifacts import dashboard as names
from saev.artifacts.activations import Activations
from saev.artifacts.analysis import Analysis
from saev.artifacts.images import Images
from saev.dashboard.build import build
from saev.dashboard.gallery import build_gallery
from saev.files import write_json


def main(arguments: list[str]) -> None:
    """Command line of the dashboard stage."""
    parser = stage.parser(__doc__ or "")
    parser.add_argument("what", choices=["run", "gallery"])
    parser.add_argument("--out", type=Path, required=True, help="where the page goes")
    for name in ("analysis", "sae", "activations", "images"):
        parser.add_argument(f"--{name}", type=Path, help=f"directory of the {name} (run)")
    parser.add_argument("--runs", type=Path, nargs="+", help="directories of analyses (gallery)")
    args = parser.parse_args(arguments)
    spec = stage.read_spec(args.spec)
    record = stage.Record(names.STAGE, spec, args.threads)
    if args.what == "gallery":
        if not args.runs:
            parser.error("gallery needs --runs")
        build_gallery(args.out, args.runs, spec.settings.get("sweeps", {}))
        return
    if None in (args.analysis, args.sae, args.activations, args.images):
        parser.error("run needs --analysis, --sae, --activations and --images")
    stage.set_threads(args.threads)
    analysis = Analysis(args.analysis)
    activations, images = Activations(args.activations, verify="sha256"), Images(args.images)
    inputs = [analysis.digest, activations.digest, images.digest]
    with stage.state(args.out, spec.settings, inputs, spec.code) as state:
        summary = build(
            args.out,
            state,
            analysis=analysis,
            sae_folder=args.sae,
            activations=activations,
            images=images,
            credit=spec.settings.get("credit"),
            threads=args.threads,
            device=stage.torch_device(stage.compute()["device"]),
        )
        record.write(args.out)
        write_json(args.out / names.SUMMARY, summary)
        stage.discard(state)


if __name__ == "__main__":
    stage.run(main)
