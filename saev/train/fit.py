"""The training loop: in one pass over the batches, it trains one dictionary or several.

The result of a dictionary doesn't depend on which others are trained with it.
"""

import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import torch

from saev import sae as saes
from saev.core import logs, stop
from saev.core.errors import UserError
from saev.core.machine import set_threads
from saev.core.progress import Progress
from saev.train import loader
from saev.train.initial import initialise
from saev.train.parallel import ALONE, Processes
from saev.train.resample import resample_if_due
from saev.train.shuffled import shuffled_batches
from saev.train.sink import Sink
from saev.train.stopping import is_spent
from saev.train.task import Task, even_widths
from saev.train.trainer import DEAD_EVERY, TRAINING_ONLY, Trainer, in_short
from saev.train.training_state import State


class Learner:
    """One dictionary in training: its trainer, its state, and the lines of its curve.

    Args:
        task: what to train, and on what.
        state: where to resume from and where to keep the curve.
        device: the device to compute on.
        threads: how many threads to use; only one is used if more would change a byte.
        name: name of its directory, for messages.
        sink: mirror of the curve.
        processes: the processes that divide the latents; only the first one has a state.

    Raises:
        UserError: the activations aren't finite.
    """

    def __init__(
        self,
        task: Task,
        state: State | None,
        device: torch.device,
        threads: int,
        name: str = "",
        sink: Sink | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self.processes = processes
        self.task, self.state, self.name, self.sink = task, state, name, sink
        self.threads = max(1, threads // processes.size) if even_widths(task) else 1
        self.note = ""
        """Figures of the last line, for the terminal."""
        set_threads(self.threads)
        settings, known = task.settings, state.load() if state else None
        generator = torch.Generator().manual_seed(settings.weights_seed)
        sae = saes.build(settings, task.stream.d, generator)
        if known is None and processes.first:
            initialise(sae, task.vectors)
        # Others may read large files for longer than the patience of what they do together.
        processes.meet()
        if processes.size > 1:
            for tensor in sae.state_dict().values():
                tensor.copy_(processes.spread(tensor.to(device)))
        self.trainer = Trainer(
            sae.to(device), n_steps=task.n_steps, mean=task.mean, processes=processes
        )
        self.done = False
        """Whether it has taken its last step: the last planned one, or it stopped improving."""
        step = int(processes.spread(torch.tensor(known[1] if known else 0, device=device)))
        if step:
            self.trainer.restore(known[0] if known else None, step)
        self.saved = self.trainer.step
        """Step of the saved state. Before the first step there is nothing to save."""
        self.save_seconds = 0.0
        """How long the last save took."""
        self.result: saes.Sae | None = None
        """The trained dictionary, whole, after the last step."""

    def step(self, batch: np.ndarray, save: Callable[[], bool]) -> None:
        """Take one step on a batch (b, d) float32. Then save the state if ``save()`` is true.

        Raises:
            UserError: the loss isn't finite.
        """
        trainer, task, settings = self.trainer, self.task, self.task.settings
        if torch.get_num_threads() != self.threads:
            set_threads(self.threads)
        resample_if_due(trainer, task.vectors)
        u, forward = trainer.train(batch)
        last = trainer.step == task.n_steps
        log = trainer.step == 1 or trainer.step % settings.log_every == 0 or last
        evaluation = trainer.step % settings.eval_every == 0 or last
        keep = save()
        if log or evaluation or keep:
            require_finite(trainer, task, self.state)
        if log or evaluation:
            line = trainer.figures(u, forward)
        if evaluation:
            line |= evaluate(trainer, task.held_out, line)
        silent = trainer.whole_silent() if evaluation else None
        if self.state and (log or evaluation):
            examples = trainer.step * settings.batch_size
            line = {"step": trainer.step, "examples": examples, **line}
            self.state.append(line)
            if self.sink:
                self.sink.log(line, silent)
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
        """Save the state of the last step, unless it is saved already or the training is done.

        Raises:
            UserError: a weight isn't finite.
        """
        step = self.trainer.step
        if step != self.saved and not self.done:
            require_finite(self.trainer, self.task, self.state)
            started, tensors = time.monotonic(), self.trainer.tensors()
            if self.state:
                self.state.save(tensors, step)
            self.saved, self.save_seconds = step, time.monotonic() - started


def fit(learners: list[Learner], state_seconds: float) -> tuple[list[Learner], float]:
    """Train all ``learners`` to their last step, in one pass over the batches. Resume if possible.

    They have the same vectors, seed, batch size and number of steps. A learner whose state is ahead
    waits until the others reach its step. The first learner is the one that was asked for: if it
    fails, all stop. If another one fails, it is left out, and its own job will say why.

    Args:
        learners: the dictionaries to train.
        state_seconds: seconds between two saves of the states, times the seconds that the last
            saves took if that is more than one. Changes no result.

    Returns:
        the learners that were trained, and how many examples per second each saw in this try.

    Raises:
        UserError: the first one's loss isn't finite. The states of the others are saved.
        Stopped: this process was asked to end. The states are saved.
    """
    first, task, going = learners[0], learners[0].task, list(learners)
    size, start = task.settings.batch_size, min(learner.trainer.step for learner in learners)
    title = task.stream.name
    if len(learners) > 1:
        title += f" × {len(learners)}"
        logs.note(
            "one pass for " + ", ".join(f"{p.name} from step {p.trainer.step}" for p in learners)
        )

    def attempt(learner: Learner, action: Callable[..., None], *given: Any) -> None:
        try:
            action(*given)
        except UserError as error:
            going.remove(learner)
            if learner is first:
                for other in going:
                    with suppress(UserError):
                        other.save()
                raise
            logs.say(f"leaving {learner.name} out of this pass: {error}")

    saved = time.monotonic()
    with stop.between_steps() as stopping:
        progress = Progress(task.n_steps * size, "vectors", title, done=start * size)
        for_gpu = first.trainer.device.type == "cuda"
        share, seed = first.processes.share(size), task.settings.seed
        shuffled = task.settings.shuffled_dimensions
        given = (task.vectors, size, seed, start, task.n_steps, for_gpu)
        batches = loader.batches(*given, None if shuffled else share)
        if shuffled:
            batches = shuffled_batches(batches, seed, start, share)
        for step, batch in enumerate(batches, start):
            wait = state_seconds * max(1.0, sum(learner.save_seconds for learner in going))
            due = time.monotonic() - saved >= wait
            save = (lambda: True) if due else (lambda: bool(stopping()))
            if first.processes.size > 1:
                due = agreed(first, step, (due and first.processes.first) or bool(stopping()))
                save = partial(bool, due)
            for learner in [p for p in going if p.trainer.step == step and not p.done]:
                attempt(learner, learner.step, batch, save)
            saved = time.monotonic() if due else saved
            if agreed(first, step, bool(stopping())):
                for learner in list(going):
                    attempt(learner, learner.save)
                raise stop.Stopped(128 + (stopping() or signal.SIGTERM))
            progress.update(size, first.note)
            if all(learner.done for learner in going):
                break
    for learner in going:
        learner.result = learner.trainer.whole_sae()
    return going, progress.rate()


def agreed(first: Learner, step: int, asked: bool) -> bool:
    """Whether any process asks to save or to stop.

    They agree on this every tenth step, so all do so after the same step.
    """
    if first.processes.size == 1:
        return asked
    return step % DEAD_EVERY == 0 and first.processes.agree(asked, first.trainer.device)


def evaluate(trainer: Trainer, held_out: np.ndarray | None, like: dict[str, Any]) -> dict[str, Any]:
    """Figures on held-out vectors, named ``eval_…``. They are null if nothing is held out."""
    if held_out is None:
        names = [name for name in like if name not in TRAINING_ONLY]
        return {**{f"eval_{name}": None for name in names}, "eval_n": 0}
    found = trainer.evaluate(held_out)
    return {**{f"eval_{k}": v for k, v in found.items()}, "eval_n": len(held_out)}


def require_finite(trainer: Trainer, task: Task, state: State | None) -> None:
    """If the loss or a weight isn't finite, raise UserError with the likely cause."""
    step = int(trainer.first_bad)
    if step < 0 and trainer.finite():
        return
    # If a weight isn't finite, the first loss that shows it is that of the next step.
    step = step if step >= 0 else min(trainer.step + 1, task.n_steps)
    settings = task.settings
    batch = next(loader.batches(task.vectors, settings.batch_size, settings.seed, step - 1, step))
    if np.isfinite(batch).all():
        cause = (
            f"the activations of that step are finite, so lr: {settings.lr:g} is probably too "
            f"high: lower it, raise warmup_steps, or choose normalisation: per_dimension"
        )
    else:
        cause = (
            "activations of that step are NaN or infinite: float16 ends at 65,504, so record them "
            "with dtype: float32 or bfloat16"
        )
    raise UserError(
        f"the loss stopped being finite at step {step} of {task.n_steps}: {cause}. "
        f"The last good state, if one was saved, is kept in {state.folder if state else '.state'}"
    )
