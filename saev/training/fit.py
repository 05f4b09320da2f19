"""The loop of training: one pass over the batches, in which one dictionary or several take each step.

What a dictionary becomes doesn't depend on which others are trained beside it.
"""

import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import torch

from saev import logs, stage
from saev import sae as saes
from saev.errors import UserError
from saev.progress import Progress
from saev.training import data
from saev.training.initial import initialise
from saev.training.job import Job, even_widths
from saev.training.parallel import ALONE, Processes
from saev.training.resample import resample_if_due
from saev.training.signals import sigterm
from saev.training.sink import Sink
from saev.training.state import State
from saev.training.stopping import is_spent
from saev.training.trainer import DEAD_EVERY, TRAINING_ONLY, Trainer, in_short

STATE_SECONDS = 20.0
"""Time between two states, times the seconds that the last ones took if that is more; changes no result."""


class Point:
    """One dictionary in training: its trainer, its state, and the lines of its curve.

    Args:
        job: what is trained, and on what.
        state: where it goes on from, and keeps its curve.
        device: where it is computed.
        threads: to compute with, if that changes no byte; otherwise one.
        name: of its directory, for messages.
        sink: mirror of the curve.
        processes: those that share the batches; only the first has a state.

    Raises:
        UserError: the activations aren't finite.
    """

    def __init__(
        self,
        job: Job,
        state: State | None,
        device: torch.device,
        threads: int,
        name: str = "",
        sink: Sink | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self.processes = processes
        self.job, self.state, self.name, self.sink = job, state, name, sink
        self.threads = max(1, threads // processes.size) if even_widths(job) else 1
        self.note = ""
        """Figures of the last line, for the terminal."""
        stage.set_threads(self.threads)
        settings, known = job.settings, state.load() if state else None
        generator = torch.Generator().manual_seed(settings.seed)
        sae = saes.build(settings.model_dump(), job.stream.d, generator)
        if known:
            tensors, step = known
            sae.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("sae.")})
        else:
            initialise(sae, job.vectors, settings)
        self.trainer = Trainer(
            sae.to(device), settings, n_steps=job.n_steps, mean=job.mean, processes=processes
        )
        self.done = False
        """Whether it has taken its last step, planned or because it got no better."""
        self.saved = 0
        """Step of the state that is kept; before the first step there is nothing to keep."""
        self.save_seconds = 0.0
        """How long the last saving took."""
        if known:
            self.trainer.restore(tensors, step)
            self.saved = step
        if processes.size > 1:
            held = self.trainer.tensors()
            self.trainer.restore(held, processes.spread_state(held, self.trainer.step))

    def step(self, batch: np.ndarray, save: Callable[[], bool]) -> None:
        """Take one step on a batch (b, d) float32; if ``save()`` says so after it, keep the state.

        Raises:
            UserError: the loss isn't finite.
        """
        trainer, job, settings = self.trainer, self.job, self.job.settings
        if torch.get_num_threads() != self.threads:
            stage.set_threads(self.threads)
        resample_if_due(trainer, job.vectors)
        u, forward = trainer.train(batch)
        last = trainer.step == job.n_steps
        log = trainer.step == 1 or trainer.step % settings.log_every == 0 or last
        evaluation = trainer.step % settings.eval_every == 0 or last
        keep = save()
        if log or evaluation or keep:
            require_finite(trainer, job, self.state)
        if log or evaluation:
            line = trainer.figures(u, forward)
        if self.state and (log or evaluation):
            if evaluation:
                line |= evaluate(trainer, job.held_out, line)
            examples = trainer.step * settings.batch_size
            line = {"step": trainer.step, "examples": examples, **line}
            self.state.append(line)
            if self.sink:
                self.sink.log(line, trainer.silent)
            self.note = in_short(line)
            if evaluation and settings.patience is not None:
                found = [kept.get("eval_nmse") for kept in self.state.lines()]
                last |= is_spent(found, settings.patience, settings.min_improvement)
        if evaluation and settings.patience is not None:
            last = self.processes.agree(last, trainer.device)
        self.done = last
        if keep:
            self.save()

    def save(self) -> None:
        """Keep the state after the last step, unless it is kept already or all is done.

        Raises:
            UserError: a weight isn't finite.
        """
        step = self.trainer.step
        if self.state and step != self.saved and not self.done:
            require_finite(self.trainer, self.job, self.state)
            started = time.monotonic()
            self.state.save(self.trainer.tensors(), step)
            self.saved, self.save_seconds = step, time.monotonic() - started


def fit(points: list[Point]) -> tuple[list[Point], float]:
    """Train, or go on training, all ``points`` to their last step, in one pass over the batches.

    They agree in vectors, seed, batch size and number of steps. One whose state is ahead of the
    others waits until these have come to its step. The first of them is the one that was asked for:
    if it fails, all end; if another does, it is left out, and its own job tells why.

    Returns:
        the points that are trained, and examples a second of each in this try.

    Raises:
        UserError: the first one's loss isn't finite; the states of the others are kept.
        Stopped: SIGTERM came; the states are kept.
    """
    first, job, going = points[0], points[0].job, list(points)
    size, start = job.settings.batch_size, min(point.trainer.step for point in points)
    title = job.stream.name
    if len(points) > 1:
        title += f" × {len(points)}"
        logs.note(
            "one pass for " + ", ".join(f"{p.name} from step {p.trainer.step}" for p in points)
        )

    def attempt(point: Point, action: Callable[..., None], *given: Any) -> None:
        try:
            action(*given)
        except UserError as error:
            going.remove(point)
            if point is first:
                for other in going:
                    with suppress(UserError):
                        other.save()
                raise
            logs.say(f"{point.name} is left out of this pass: {error}")

    saved = time.monotonic()
    with sigterm() as stopping:
        progress = Progress(job.n_steps * size, "rows", title, done=start * size)
        pinned = first.trainer.device.type == "cuda"
        share = first.processes.share(size)
        batches = data.batches(
            job.vectors, size, job.settings.seed, start, job.n_steps, pinned, share
        )
        for step, batch in enumerate(batches, start):
            wait = STATE_SECONDS * max(1.0, sum(point.save_seconds for point in going))
            due = time.monotonic() - saved >= wait
            save = stopping if not due else lambda: True
            for point in [p for p in going if p.trainer.step == step and not p.done]:
                attempt(point, point.step, batch, save)
            saved = time.monotonic() if due else saved
            if stop_now(first, step, stopping()):
                for point in list(going):
                    attempt(point, point.save)
                raise stage.Stopped(128 + signal.SIGTERM)
            progress.update(size, first.note)
            if all(point.done for point in going):
                break
    return going, progress.rate()


def stop_now(first: Point, step: int, asked: bool) -> bool:
    """Whether to stop: processes agree on it every tenth step, so that all stop after the same one."""
    if first.processes.size == 1:
        return asked
    return step % DEAD_EVERY == 0 and first.processes.agree(asked, first.trainer.device)


def evaluate(trainer: Trainer, held_out: np.ndarray | None, like: dict[str, Any]) -> dict[str, Any]:
    """Figures on held-out vectors, named ``eval_…``; null where none is held out."""
    if held_out is None:
        names = [name for name in like if name not in TRAINING_ONLY]
        return {**{f"eval_{name}": None for name in names}, "eval_n": 0}
    found = trainer.evaluate(held_out)
    return {**{f"eval_{k}": v for k, v in found.items()}, "eval_n": len(held_out)}


def require_finite(trainer: Trainer, job: Job, state: State | None) -> None:
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
        f"The last good state, if one was saved, is kept in {state.folder if state else '.state'}"
    )
