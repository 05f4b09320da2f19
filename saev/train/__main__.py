"""The `train` stage: trains a sparse autoencoder on recorded activations, or converts one from
elsewhere.

    python -m saev.train --spec JSON --activations results/IMAGES/VIT --out results/IMAGES/VIT/SAE

You can stop it at any time and run it again: it resumes, and the result has the bytes of an
uninterrupted run. If `train.together` is set in the workflow's plan, it also trains, in the same
pass, the other dictionaries that see the same batches.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from saev.activations.artifact import Activations
from saev.core import frame, logs
from saev.core.errors import UserError
from saev.core.files import canonical_json, sha256_bytes
from saev.core.machine import job_device, kind
from saev.core.meta import RUN, write_meta
from saev.core.once import Once
from saev.core.provenance import Provenance
from saev.core.spec import read_spec
from saev.core.state import state
from saev.settings import from_plan
from saev.settings.component import identity
from saev.settings.elsewhere import CHECKPOINT
from saev.settings.sae import AnySaeSettings
from saev.settings.sae_base import SaeResolved, SaeSettings
from saev.train import conversion, finished, last_state, parallel, together
from saev.train.artifact import PLOT, STAGE
from saev.train.doubts import before
from saev.train.fit import Learner, fit
from saev.train.parallel import Processes
from saev.train.sink import Sink
from saev.train.task import prepare
from saev.train.training_state import State


def main(arguments: list[str]) -> None:
    """Run the stage."""
    parser = frame.parser(__doc__ or "")
    parser.add_argument("--activations", required=True, help="directory of the activations")
    parser.add_argument("--out", required=True, help="directory of the dictionary")
    parser.add_argument(
        "--mem-mb",
        type=int,
        help="memory in MB that the job asked for; a cluster's jobs get no more",
    )
    args = parser.parse_args(arguments)
    spec, out = read_spec(args.spec), Path(args.out)
    if CHECKPOINT in spec.settings:
        return conversion.run(spec, args.activations, out, args.done, args.threads)
    settings: AnySaeSettings = spec.parsed(AnySaeSettings, **from_plan.loose("sae", out.name))
    taken = 0 if parallel.started() else settings.processes
    device = job_device(from_plan.compute().device, taken)
    mem_mb = args.mem_mb if from_plan.on_cluster() else None
    provenance = Provenance(STAGE, spec.code, args.threads)
    activations = Activations(args.activations, verify="sha256")
    inputs = {"activations": activations.digest}
    resolved = spec.found(SaeResolved)
    key = (identity(settings, resolved), spec.code, inputs)
    once = Once(args.done, out, *key)
    if not parallel.started() and once.there():
        return once.take_up()
    if settings.processes > 1 and not parallel.started():
        parallel.launch(settings.processes, "saev.train", arguments, device)
    processes = parallel.join(settings.processes, device)
    if not processes.first:
        return follow(settings, resolved, activations, device, args.threads, processes, mem_mb)
    group = together.group_of(out)
    with (
        together.turn(out, group),
        state(out, *key) as held,
    ):
        full = settings.model_dump(mode="json")
        mirrored = None
        # While this job waited, the job of a killed run may have finished the work.
        complete = once.there()
        needed = processes.tell(not complete and not finished.there(held.folder))
        if complete:
            once.take_up()
            return held.discard()
        if needed:
            try:
                in_memory = from_plan.compute().data_in_memory
                task = prepare(settings, activations, in_memory, resolved.groups, mem_mb)
            except UserError:
                with suppress(OSError):  # a folder with the state of an earlier try stays
                    held.folder.rmdir()
                raise
            mirrored = open_sink(out, full, inputs)
            given = (device, args.threads)
            own = Learner(task, State(held, kind(device)), *given, out.name, mirrored, processes)
            with together.partners(
                out, args.done, group, task, resolved, spec.code, inputs, *given
            ) as others:
                for learner in (own, *others):
                    started = learner.task
                    for doubt in before(started.settings, started.n_steps, started.std):
                        logs.say(f"warning: {learner.name}: {doubt}")
                trained, rate = fit([own, *others], from_plan.compute().state_seconds)
                for learner in trained:
                    try:
                        finished.write(learner, inputs, rate, trained_by=out.name)
                    except UserError as error:
                        if learner is own:
                            raise
                        logs.say(f"leaving {learner.name} out of this pass: {error}")
        sink = mirrored or replayed(out, full, inputs, held.folder)
        held.require()
        facts = finished.facts_of(held.folder)
        made = write_meta(
            finished.folder_of(held.folder),
            stage=STAGE,
            name=out.name,
            settings=settings.essential(),
            inputs=inputs,
            summary=facts["summary"],
            files=[*finished.results(held.folder)],
            plots=[PLOT],
        )
        finished.take(held.folder, out)
        sink.finish(out / PLOT)
        provenance.write(
            out,
            device=kind(device),
            examples_per_second=facts["examples_per_second"],
            trained_by=facts["trained_by"],
        )
        once.finish([*made, {"name": RUN}])
        last_state.keep(held.folder, out, facts, from_plan.compute().keep_state_after)
        held.discard()


def follow(
    settings: SaeSettings,
    resolved: SaeResolved,
    activations: Activations,
    device: torch.device,
    threads: int,
    processes: Processes,
    mem_mb: int | None,
) -> None:
    """Take the steps of a training whose results the first process writes."""
    logs.mute()
    if processes.told():
        # The first process verifies the files before any process takes a step.
        activations = Activations(activations.path, verify="size")
        in_memory = from_plan.compute().data_in_memory
        task = prepare(settings, activations, in_memory, resolved.groups, mem_mb)
        own = Learner(task, None, device, threads, processes=processes)
        fit([own], from_plan.compute().state_seconds)


def replayed(out: Path, settings: dict[str, Any], inputs: dict[str, str], state: Path) -> Sink:
    """A mirror with the whole curve of a training that another job has done."""
    sink = open_sink(out, settings, inputs)
    for line in finished.lines(state):
        sink.log(line, None)
    return sink


def open_sink(out: Path, settings: dict[str, Any], inputs: dict[str, str]) -> Sink:
    """The mirror of this training.

    Its id is a digest of what the result depends on, without code.
    """
    compute, lineage = from_plan.compute(), out.resolve().parts[-3:]
    run_id = sha256_bytes(canonical_json([lineage, settings, inputs]).encode())[:16]
    config = {"settings": settings, "lineage": "/".join(lineage), "inputs": inputs}
    name = out.name
    return Sink(compute.wandb, compute.wandb_project, run_id, name, config)


if __name__ == "__main__":
    frame.run(main)
