"""The `evaluate` stage: what a dictionary is worth, beside baselines.

    python -m saev.evaluate --spec JSON --analysis DIR --sae DIR --activations DIR --out DIR

An analysis with labels also needs `--labels DIR`. `--seed DIR` names the same dictionary with
another `init_seed`, or one of shuffled activations that the evaluation is compared with.
"""

import argparse
from pathlib import Path

from saev.core import frame, logs
from saev.core.errors import UserError
from saev.core.files import place, sha256_file
from saev.core.machine import job_device, kind, set_threads
from saev.core.meta import META, RUN, write_meta
from saev.core.once import Once
from saev.core.provenance import Provenance
from saev.core.spec import read_spec
from saev.core.state import scratch
from saev.evaluate.artifact import STAGE
from saev.evaluate.made_from import Folders
from saev.evaluate.mask_files import require_same_masks
from saev.settings import from_plan
from saev.settings.component import identity
from saev.settings.evaluation import EvaluationResolved, EvaluationSettings


def main(arguments: list[str]) -> None:
    """Evaluate the dictionary of one analysis."""
    parser = frame.parser(str(__doc__))
    frame.add_folders(
        parser, analysis="analysis", sae="dictionary", activations="activations", out="evaluation"
    )
    parser.add_argument(
        "--labels", type=Path, metavar="DIR", help="directory of the labels, if any"
    )
    parser.add_argument(
        "--seed",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="directory of the same dictionary with another init_seed, or of one trained on "
        "shuffled activations; may be given several times",
    )
    given = parser.parse_args(arguments)
    _evaluate(given)


def _evaluate(given: argparse.Namespace) -> None:
    spec = read_spec(given.spec)
    provenance = Provenance(STAGE, spec.code, given.threads)
    settings: EvaluationSettings = spec.parsed(EvaluationSettings)
    resolved: EvaluationResolved = spec.found(EvaluationResolved)
    described = identity(settings, resolved)
    folders = Folders(given.analysis, given.sae, given.activations, given.labels, given.seed)
    inputs = folders.digests()
    key = (described, spec.code, inputs)
    once = Once(given.done, given.out, *key)
    if once.there():
        return once.take_up()
    from saev.evaluate.measure import Evaluator  # PyTorch takes seconds to import
    from saev.evaluate.opened import open_all

    frame.require_same_code()
    set_threads(given.threads)
    if settings.masks:
        found = resolved.masks.sha256 if resolved.masks else None
        require_same_masks(settings.masks, found)
    if settings.vocabulary and sha256_file(settings.vocabulary) != resolved.vocabulary:
        raise UserError(
            f"{settings.vocabulary} was changed since the workflow started: start it again"
        )
    device = job_device(from_plan.compute().device)
    opened = open_all(folders, device)
    with scratch(given.out, *key) as held:
        seeds, shuffled = (
            [one for one in folders.seeds if (one.name in resolved.shuffled) is wanted]
            for wanted in (False, True)
        )
        evaluator = Evaluator(opened, settings, held.folder, seeds, given.threads, shuffled)
        evaluator.run()
        names = evaluator.write()
        made = write_meta(
            held.folder,
            stage=STAGE,
            name=given.out.resolve().name,
            settings=described,
            inputs=inputs,
            summary=evaluator.summary(),
            files=list(names),
        )
        held.require()
        for name in (*names, META):
            place(held.folder / name, given.out / name)
    for figure in evaluator.results.figures:
        logs.say(figure.line())
    provenance.write(given.out, device=kind(device), metrics=evaluator.seconds)
    once.finish([*made, {"name": RUN}])


if __name__ == "__main__":
    frame.run(main)
