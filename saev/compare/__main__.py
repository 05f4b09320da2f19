"""The `compare` stage: does a training follow a reference curve?

    python -m saev.compare curves --spec JSON --sae DIR --out DIR
    python -m saev.compare verdict FILE …

`curves` writes verdict.json and comparison.png. `verdict` prints verdicts, and exits with status 1
if a curve deviates.
"""

import argparse
import sys
from pathlib import Path

from saev.compare.artifact import PLOT, STAGE, VERDICT
from saev.compare.comparison_plot import draw
from saev.compare.curves import compare, read_curve, sentence
from saev.core import frame, logs
from saev.core.errors import UserError
from saev.core.files import read_json, sha256_file, write_json
from saev.core.meta import RUN, read_meta, require_unaltered, write_meta
from saev.core.once import Once
from saev.core.provenance import Provenance
from saev.core.spec import read_spec
from saev.settings.component import identity
from saev.settings.references import ReferenceResolved, ReferenceSettings
from saev.train.artifact import CURVE
from saev.train.artifact import STAGE as TRAIN


def main(arguments: list[str]) -> None:
    """Compare two curves, or print what comparisons have found."""
    commands = frame.Commands(str(__doc__))
    curves = commands.add("curves", _curves, "compare the curve of a training with a reference")
    curves.add_argument("--sae", required=True, type=Path, help="directory of the dictionary")
    curves.add_argument("--out", required=True, type=Path, help="directory of the comparison")
    verdict = commands.add("verdict", _verdict, "print what comparisons have found", job=False)
    verdict.add_argument("verdicts", nargs="*", type=Path, metavar="FILE", help="a verdict.json")
    commands.run(arguments)


def _curves(args: argparse.Namespace) -> None:
    spec = read_spec(args.spec)
    provenance = Provenance(STAGE, spec.code, args.threads)
    settings: ReferenceSettings = spec.parsed(ReferenceSettings)
    resolved = spec.found(ReferenceResolved)
    if (settings.sha256 or resolved.sha256) not in (None, sha256_file(settings.curve)):
        raise UserError(
            f"references: the SHA-256 of {settings.curve} isn't the one in the settings, or has "
            f"changed since the workflow started: correct sha256, or start the workflow again"
        )
    trained, digest = read_meta(args.sae, TRAIN)
    require_unaltered(args.sae, [e for e in trained["files"] if e["name"] == CURVE])
    curve = args.sae / CURVE
    key = (identity(settings, resolved), spec.code, digest, sha256_file(Path(settings.curve)))
    once = Once(args.done, args.out, *key)
    if once.there():
        return once.take_up()
    ours, reference = read_curve(curve), read_curve(Path(settings.curve))
    found = compare(ours, reference, settings)
    draw(ours, reference, found, args.out / PLOT)
    verdict = {
        **found,
        "curve": str(curve),
        "reference": settings.curve,
        "curve_sha256": sha256_file(curve),
    }
    write_json(args.out / VERDICT, verdict)
    provenance.write(args.out)
    made = write_meta(
        args.out,
        stage=STAGE,
        name=args.out.name,
        settings=identity(settings, resolved),
        inputs={TRAIN: digest},
        summary=found,
        files=[VERDICT],
        plots=[PLOT],
    )
    once.finish([*made, {"name": RUN}])
    logs.say(sentence(verdict))


def _verdict(args: argparse.Namespace) -> None:
    verdicts = [read_json(path) for path in args.verdicts]
    for path, verdict in zip(args.verdicts, verdicts, strict=True):
        print(f"{sentence(verdict)}\n  {path.with_name(PLOT)}", file=sys.stderr)
    if not all(verdict["agrees"] for verdict in verdicts):
        raise SystemExit(1)


if __name__ == "__main__":
    frame.run(main)
