"""The `analyze` stage: what each latent of a dictionary sees in the images.

    python -m saev.analyze part  --spec JSON --sae DIR --activations DIR --part N --out DIR
    python -m saev.analyze merge --spec JSON --sae DIR --activations DIR --n-parts N --out DIR

An analysis with labels also needs `--labels DIR`.

If the job of a part is killed, the next one starts the part anew. A part has at most
`saev.analyze.artifact.PART` images.
"""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from saev.activations.artifact import STAGE as ACTIVATIONS
from saev.analyze.artifact import LATENTS, STAGE, TABLE, part_folder, part_json
from saev.core import frame, logs
from saev.core.files import file_entry, place, read_json
from saev.core.machine import job_device, kind, set_threads
from saev.core.meta import META, RUN, read_meta
from saev.core.once import Once
from saev.core.progress import quantity
from saev.core.provenance import Provenance
from saev.core.spec import read_spec
from saev.core.state import scratch
from saev.labels.artifact import STAGE as LABELS
from saev.settings import from_plan
from saev.settings.analysis import AnalysisResolved, AnalysisSettings
from saev.settings.component import identity
from saev.train.artifact import STAGE as TRAIN

if TYPE_CHECKING:
    from saev.analyze.inputs import Inputs


def main(arguments: list[str]) -> None:
    """Run one of the two steps."""
    commands = frame.Commands(str(__doc__))
    part = commands.add("part", _part, "look at the images of one part")
    part.add_argument(
        "--part", required=True, type=int, metavar="N", help="number of the part, from 0"
    )
    merge = commands.add("merge", _merge, "add up all parts")
    merge.add_argument("--n-parts", required=True, type=int, metavar="N", help="number of parts")
    for command in (part, merge):
        command.add_argument("--labels", metavar="DIR", help="directory of the labels, if any")
        command.add_argument(
            "--activations", required=True, metavar="DIR", help="directory of the activations"
        )
        command.add_argument(
            "--out", required=True, metavar="DIR", help="directory of the analysis"
        )
        command.add_argument(
            "--sae", required=True, metavar="DIR", help="directory of the dictionary"
        )
    commands.run(arguments)


def _open(given: argparse.Namespace, settings: AnalysisSettings) -> "Inputs":
    from saev.analyze.inputs import open_inputs  # PyTorch takes seconds to import

    frame.require_same_code()
    set_threads(given.threads)
    device = job_device(from_plan.compute().device)
    return open_inputs(settings, given.sae, given.activations, given.labels, device)


def _part(given: argparse.Namespace) -> None:
    spec = read_spec(given.spec)
    provenance = Provenance(STAGE, spec.code, given.threads)
    out, started = Path(given.out), time.monotonic()
    loose = from_plan.loose("analysis", out.name)
    settings: AnalysisSettings = spec.parsed(AnalysisSettings, **loose)
    described = identity(settings, spec.found(AnalysisResolved))
    key = (described, spec.code, _digests(given), given.part)
    once = Once(given.done, out, *key)
    if once.there():
        return once.take_up()
    from saev.analyze.parts import write_part

    inputs = _open(given, settings)
    with scratch(out, *key) as held:
        write_part(inputs, settings, given.part, out, held.folder)
    seconds = round(time.monotonic() - started, 3)
    provenance.write(out / part_folder(given.part), pass_seconds=seconds)
    described_by = part_json(given.part)
    once.finish(
        [*read_json(out / described_by)["files"], file_entry(out / described_by, described_by)]
    )


def _digests(given: argparse.Namespace) -> dict[str, str]:
    """What an analysis is made from: SHA-256 of the `meta.json` of earlier results."""
    folders = {TRAIN: given.sae, ACTIVATIONS: given.activations}
    if given.labels is not None:
        folders[LABELS] = given.labels
    return {stage: read_meta(folder, stage)[1] for stage, folder in folders.items()}


def _merge(given: argparse.Namespace) -> None:
    spec = read_spec(given.spec)
    provenance = Provenance(STAGE, spec.code, given.threads)
    settings: AnalysisSettings = spec.parsed(AnalysisSettings)
    resolved = spec.found(AnalysisResolved)
    out = Path(given.out)
    key = ("merge", identity(settings, resolved), spec.code, _digests(given))
    once = Once(given.done, out, *key)
    if once.there():
        return once.take_up()
    from saev.analyze.merge import write_merged

    inputs = _open(given, settings)
    runs = [out / part_folder(part) / RUN for part in range(given.n_parts)]
    seconds = sum(read_json(path)["pass_seconds"] for path in runs if path.is_file())
    with scratch(out, *key) as held:
        made, summary = write_merged(
            inputs, settings, resolved, given.n_parts, out, held.folder, code=spec.code
        )
        held.require()
        for name in (LATENTS, TABLE, META):
            place(held.folder / name, out / name)
    n_vectors, n_dead = summary["all"]["n_vectors"], summary["all"]["n_dead"]
    rate = {"parts_seconds": round(seconds, 3)}
    if seconds:
        rate["vectors_per_second"] = round(n_vectors / seconds, 1)
        logs.say(f"analysed {n_vectors:,} vectors, {quantity(n_vectors / seconds)} per second")
    logs.say(f"{n_dead:,} of {summary['n_latents']:,} latents are dead on these images")
    provenance.write(out, device=kind(inputs.sae.W_dec.device), **rate)
    once.finish([*made, {"name": RUN}])


if __name__ == "__main__":
    frame.run(main)
