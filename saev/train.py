"""The `train` stage: recorded activations to a sparse autoencoder.

    python -m saev.train --spec JSON --activations results/IMAGES/VIT --out results/IMAGES/VIT/SAE

Killed at any instant and run again, it ends with the bytes of an undisturbed run.
"""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError

from saev import sae as saes
from saev import stage
from saev.artifacts.activations import Activations, Stream
from saev.artifacts.meta import write_meta
from saev.artifacts.sae import CHECKPOINT, CURVE, FIGURE, STAGE
from saev.errors import UserError, listed
from saev.files import canonical_json, sha256_bytes, write_bytes
from saev.progress import Progress
from saev.settings.sae import AnySaeSettings
from saev.training import curves, data
from saev.training.initial import initialise
from saev.training.resample import resample_if_due
from saev.training.sink import Sink
from saev.training.state import State
from saev.training.stopping import is_spent
from saev.training.trainer import TRAINING_ONLY, Trainer, in_short

STATE_SECONDS = 20.0
"""Time between two states; saving one changes no result."""
EVAL_VECTORS = 16_384
"""Held-out vectors at most in an evaluation (``eval_n`` says how many)."""

EVEN = 16
"""Widths that are multiples of this have products that don't depend on the number of threads."""


class Job(NamedTuple):
    """What is trained, and on what."""

    settings: AnySaeSettings
    stream: Stream
    mean: np.ndarray
    """(d,) float64, recorded mean of the activations."""
    split: data.Split
    vectors: data.Vectors
    held_out: np.ndarray | None
    """(h, d) float32, those that evaluations look at; None if no image is held out."""
    n_held_out: int
    """Vectors of all held-out images."""
    n_steps: int


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
    job = prepare(settings, activations, stage.compute()["data_in_memory"])
    threads = args.threads if even_widths(job) else 1
    stage.set_threads(threads)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    with stage.state(out, spec.settings, spec.code, inputs) as folder:
        state = State(folder)
        full = settings.model_dump(mode="json")
        sink = open_sink(out, full, inputs)
        trainer, rate = fit(job, state, device, sink)
        saes.save(
            trainer.sae, out / CHECKPOINT, settings=full, inputs=inputs, stream=job.stream.name
        )
        lines = state.lines()
        write_bytes(out / CURVE, state.curve.read_bytes())
        title = f"{out.name} · {settings.architecture} on {job.stream.name}"
        curves.draw(lines, settings.n_latents, title, out / FIGURE)
        sink.finish(out / FIGURE)
        stopped_early = (
            {"stopped_early": trainer.step < job.n_steps} if settings.patience is not None else {}
        )
        record.write(out, device=str(device), examples_per_second=round(rate, 1))
        write_meta(
            out,
            stage=STAGE,
            name=out.name,
            settings=spec.settings,
            inputs=inputs,
            summary={
                "steps": trainer.step,
                "examples": trainer.step * settings.batch_size,
                **stopped_early,
                "n_train_images": len(job.split.training),
                "n_held_out_images": len(job.split.held_out),
                "n_train_examples": job.vectors.n,
                "n_held_out_examples": job.n_held_out,
                "final": lines[-1],
            },
            files=[CHECKPOINT, CURVE, FIGURE],
        )
        stage.discard(folder)


def read_settings(values: dict[str, Any]) -> AnySaeSettings:
    """Check the settings of the stage.

    Raises:
        UserError: names each key that is wrong.
    """
    try:
        return TypeAdapter(AnySaeSettings).validate_json(json.dumps(values))
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise UserError(listed(problems, "the settings of this dictionary are wrong:")) from None


def prepare(
    settings: AnySaeSettings, activations: Activations, data_in_memory: str = "auto"
) -> Job:
    """Split the images and open the vectors.

    Raises:
        UserError: the stream wasn't recorded, no image is left for training, or memory is too small.
    """
    stream = activations.stream(settings.layer, settings.tokens)
    split = data.split_images(activations, settings.held_out, settings.seed)
    if not len(split.training):
        raise UserError(
            f"held_out: {settings.held_out} leaves none of the {activations.n_rows} images of "
            f"{activations.path} for training: lower it, or add pictures"
        )
    vectors = data.load(activations, stream, split.training, data_in_memory)
    n_held_out = len(split.held_out) * stream.n_patches
    chosen = data.sample(n_held_out, EVAL_VECTORS, [settings.seed, 0, 2])
    held_out = (
        data.Streamed(activations, stream, split.held_out).gather(chosen) if n_held_out else None
    )
    n_steps = max(1, round(settings.epochs * vectors.n / settings.batch_size))
    mean = activations.stats(stream)["mean"]
    return Job(settings, stream, mean, split, vectors, held_out, n_held_out, n_steps)


def even_widths(job: Job) -> bool:
    """Whether products have the same bits for any number of threads.

    Measured with PyTorch's MKL: a product whose output is not a multiple of 16 wide is split over
    threads in a way that changes the rounding. Towers and dictionaries are; others get one thread.
    """
    n_points = getattr(job.settings, "n_points", EVEN)
    return all(n % EVEN == 0 for n in (job.stream.d, job.settings.n_latents, n_points))


def open_sink(out: Path, settings: dict[str, Any], inputs: dict[str, str]) -> Sink:
    """The mirror of this training; its id is a digest of the same things as the result."""
    compute, lineage = stage.compute(), out.resolve().parts[-3:]
    run_id = sha256_bytes(canonical_json([lineage, settings, inputs]).encode())[:16]
    config = {"settings": settings, "lineage": "/".join(lineage), "inputs": inputs}
    name = out.name
    return Sink(compute["wandb"], compute["wandb_project"], run_id, name, config)


def fit(
    job: Job, state: State, device: torch.device, sink: Sink | None = None
) -> tuple[Trainer, float]:
    """Train, or go on training, to the last step.

    Returns:
        the trainer, and examples a second in this try.

    Raises:
        UserError: the loss isn't finite.
        Stopped: SIGTERM came; the state is kept.
    """
    settings, known = job.settings, state.load()
    generator = torch.Generator().manual_seed(settings.seed)
    sae = saes.build(settings.model_dump(), job.stream.d, generator)
    if known:
        tensors, step = known
        sae.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("sae.")})
    else:
        initialise(sae, job.vectors, settings)
    trainer = Trainer(sae.to(device), settings, n_steps=job.n_steps, mean=job.mean)
    if known:
        trainer.restore(tensors, step)
    size, saved = settings.batch_size, time.monotonic()
    progress = Progress(job.n_steps * size, "rows", job.stream.name, done=trainer.step * size)
    with sigterm() as stopping:
        pinned = device.type == "cuda"
        batches = data.batches(job.vectors, size, settings.seed, trainer.step, job.n_steps, pinned)
        note = ""
        for batch in batches:
            resample_if_due(trainer, job.vectors)
            u, forward = trainer.train(batch)
            last = trainer.step == job.n_steps
            log = trainer.step == 1 or trainer.step % settings.log_every == 0 or last
            evaluation = trainer.step % settings.eval_every == 0 or last
            save = time.monotonic() - saved >= STATE_SECONDS or stopping()
            if log or evaluation or save:
                require_finite(trainer, job, state)
            if log or evaluation:
                line = trainer.figures(u, forward)
                if evaluation:
                    line |= evaluate(trainer, job.held_out, line)
                line = {"step": trainer.step, "examples": trainer.step * size, **line}
                state.append(line)
                if evaluation and settings.patience is not None:
                    found = [kept.get("eval_nmse") for kept in state.lines()]
                    last |= is_spent(found, settings.patience, settings.min_improvement)
                if sink:
                    sink.log(line, trainer.silent)
                note = in_short(line)
            if save and not last:
                state.save(trainer.tensors(), trainer.step)
                saved = time.monotonic()
            if stopping():
                raise stage.Stopped(128 + signal.SIGTERM)
            progress.update(size, note)
            if last:
                break
    return trainer, progress.rate()


def evaluate(trainer: Trainer, held_out: np.ndarray | None, like: dict[str, Any]) -> dict[str, Any]:
    """Figures on held-out vectors, named ``eval_…``; null where none is held out."""
    if held_out is None:
        names = [name for name in like if name not in TRAINING_ONLY]
        return {**{f"eval_{name}": None for name in names}, "eval_n": 0}
    found = trainer.evaluate(held_out)
    return {**{f"eval_{k}": v for k, v in found.items()}, "eval_n": len(held_out)}


def require_finite(trainer: Trainer, job: Job, state: State) -> None:
    """Raise UserError, naming the step and the likely cause, if the loss or a weight isn't finite."""
    step = int(trainer.first_bad)
    if step < 0 and trainer.finite():
        return
    # Whenever weights are looked at: the first loss that they spoil is that of the next step.
    step = step if step >= 0 else min(trainer.step + 1, job.n_steps)
    settings = job.settings
    batch = next(data.batches(job.vectors, settings.batch_size, settings.seed, step - 1, step))
    if np.isfinite(batch).all():
        cause = (
            f"the activations of that step are finite, so lr: {settings.lr:g} is probably too high: "
            f"lower it, raise warmup_steps, or choose normalisation: per_dimension"
        )
    else:
        cause = (
            "activations of that step are NaN or infinite: float16 ends at 65,504, so record them with "
            "dtype: float32 or bfloat16"
        )
    raise UserError(
        f"the loss stopped being finite at step {step} of {job.n_steps}: {cause}. "
        f"The last good state, if one was saved, is kept in {state.folder}"
    )


@contextmanager
def sigterm() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether SIGTERM or Ctrl-C came: a step isn't interrupted in its middle."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    came = threading.Event()

    def notice(number: int, frame: FrameType | None) -> None:
        came.set()

    before = {n: signal.signal(n, notice) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield came.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    stage.run(main)
