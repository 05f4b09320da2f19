"""The `train` stage: recorded activations to a sparse autoencoder.

    python -m saev.train --spec JSON --activations results/IMAGES/VIT --out results/IMAGES/VIT/SAE

Killed at any instant and run again, it ends with the bytes of an undisturbed run. With `train.together`
in the plan of the workflow, the pass over the activations also trains others that see the same batches.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from saev import logs, stage
from saev.artifacts.activations import Activations
from saev.artifacts.meta import write_meta
from saev.artifacts.sae import FIGURE, STAGE
from saev.errors import UserError
from saev.files import canonical_json, sha256_bytes
from saev.settings.sae import AnySaeSettings
from saev.training import finished, parallel, together
from saev.training.fit import Point, fit
from saev.training.job import prepare, read_settings
from saev.training.parallel import Processes
from saev.training.sink import Sink
from saev.training.state import State


def main(arguments: list[str]) -> None:
    """Run the stage."""
    parser = stage.parser(__doc__ or "")
    parser.add_argument("--activations", required=True, help="directory of the activations")
    parser.add_argument("--out", required=True, help="directory of the dictionary")
    args = parser.parse_args(arguments)
    spec = stage.read_spec(args.spec)
    settings = read_settings(spec.settings)
    device = stage.torch_device(stage.compute()["device"])
    record = stage.Record(STAGE, spec, args.threads)
    activations = Activations(args.activations, verify="sha256")
    inputs = {"activations": activations.digest}
    if settings.processes > 1 and not parallel.started():
        parallel.launch(settings.processes, "saev.train", arguments, device)
    processes = parallel.join(settings.processes, device)
    out = Path(args.out)
    if not processes.first:
        return follow(settings, activations, device, args.threads, processes)
    group = together.group_of(out)
    with (
        together.turn(out, group),
        stage.state(out, spec.settings, spec.code, inputs) as folder,
    ):
        full = settings.model_dump(mode="json")
        mirrored = None
        needed = processes.agree(not finished.there(folder), device)
        if needed:
            try:
                job = prepare(settings, activations, stage.compute()["data_in_memory"])
            except UserError:
                with suppress(OSError):  # one of an earlier try stays
                    folder.rmdir()
                raise
            mirrored = open_sink(out, full, inputs)
            given = (device, args.threads)
            own = Point(job, State(folder), *given, out.name, mirrored, processes)
            with together.partners(out, group, job, spec.code, inputs, *given) as others:
                trained, rate = fit([own, *others])
                for point in trained:
                    finished.write(point, inputs, rate, trained_by=out.name)
        sink = mirrored or replayed(out, full, inputs, folder)
        facts = finished.take(folder, out)
        sink.finish(out / FIGURE)
        record.write(
            out,
            device=str(device),
            examples_per_second=facts["examples_per_second"],
            trained_by=facts["trained_by"],
        )
        write_meta(
            out,
            stage=STAGE,
            name=out.name,
            settings=spec.settings,
            inputs=inputs,
            summary=facts["summary"],
            files=list(finished.FILES),
        )
        stage.discard(folder)


def follow(
    settings: AnySaeSettings,
    activations: Activations,
    device: torch.device,
    threads: int,
    processes: Processes,
) -> None:
    """Take the steps of a training whose results the first process writes."""
    logs.mute()
    if processes.agree(False, device):
        # The first one verifies the files, before any takes a step.
        activations = Activations(activations.path, verify="size")
        job = prepare(settings, activations, stage.compute()["data_in_memory"])
        fit([Point(job, None, device, threads, processes=processes)])


def replayed(out: Path, settings: dict[str, Any], inputs: dict[str, str], state: Path) -> Sink:
    """The mirror of a training that another job has done, with its curve written into it."""
    sink = open_sink(out, settings, inputs)
    for line in finished.lines(state):
        sink.log(line, None)
    return sink


def open_sink(out: Path, settings: dict[str, Any], inputs: dict[str, str]) -> Sink:
    """The mirror of this training; its id is a digest of the same things as the result."""
    compute, lineage = stage.compute(), out.resolve().parts[-3:]
    run_id = sha256_bytes(canonical_json([lineage, settings, inputs]).encode())[:16]
    config = {"settings": settings, "lineage": "/".join(lineage), "inputs": inputs}
    name = out.name
    return Sink(compute["wandb"], compute["wandb_project"], run_id, name, config)


if __name__ == "__main__":
    stage.run(main)
