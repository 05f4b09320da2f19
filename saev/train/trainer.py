"""Takes the steps of a training. It works on arrays and knows nothing about images or files."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saev.core import metrics
from saev.sae import Forward, Sae, build
from saev.sae.divided import part_of
from saev.train.adam import Adam
from saev.train.clip import clipping
from saev.train.parallel import ALONE, Processes
from saev.train.schedule import learning_rate
from saev.train.step_sums import step_sums

EVAL_CHUNK = 1024
"""How many held-out vectors are encoded at once. Constant, as figures depend on how sums are
grouped."""
DEAD_EVERY = 10
"""After how many steps dead latents are determined again. It makes the program wait for the
device."""
TRAINING_ONLY = ("dead", "lr", "grad_norm", "resampled")
"""Figures that a step has and an evaluation doesn't."""


class Trainer:
    """Adam on one dictionary, with unit decoder rows, a scheduled rate and counts of silence.

    Args:
        sae: the dictionary, on its device, initialised.
        n_steps: planned steps of the whole training, over which the rate decays.
        mean: (d,) recorded mean of the raw activations, the centre of nmse.
        processes: the processes that take the steps together; each keeps its own latents of
            ``sae``.
    """

    def __init__(
        self,
        sae: Sae,
        *,
        n_steps: int,
        mean: np.ndarray,
        processes: Processes = ALONE,
    ) -> None:
        self.sae, self.settings, self.n_steps = sae, sae.settings, n_steps
        self.processes = processes
        if processes.size > 1:
            sae.divide(processes)
        self.device = sae.b_dec.device
        self.adam = Adam(sae)
        self.step = 0
        self.silent = torch.zeros(sae.n_latents, dtype=torch.int64, device=self.device)
        """Vectors seen since each latent fired."""
        self.dead_now = torch.zeros(sae.n_latents, dtype=torch.bool, device=self.device)
        """(n,) the latents that steps treat as dead: `dead`, updated every `DEAD_EVERY` steps."""
        self.dead_latents: Tensor | None = None
        """(m,) int64, indices of ``dead_now``; None if there are none. Reading it needs no
        waiting."""
        self.resampled = 0
        """How many times a latent was re-initialised so far."""
        self.grad_norm = torch.zeros((), device=self.device)
        """Norm of the last step's gradient before clipping, if gradients are clipped."""
        self._copies = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        self._copying: tuple[np.ndarray, torch.cuda.Event] | None = None
        """The last batch, and the event at the end of its copy to the GPU. Until then, its memory
        must not be reused."""
        self.first_bad = torch.tensor(-1, device=self.device)
        """First step (from 1) of this try whose loss wasn't finite. Kept on the device, so that not
        every step has to wait."""
        self.mean = mean

    @property
    def centre(self) -> Tensor:
        """(d,) float64, the recorded mean, normalised."""
        mean = torch.from_numpy(self.mean).double().to(self.device)
        return (mean - self.sae.norm_mean.double()) / self.sae.norm_scale.double()

    def learning_rate(self, step: int) -> float:
        """The rate of the step that follows ``step`` steps."""
        return learning_rate(self.settings, step, self.n_steps)

    def dead(self) -> Tensor:
        """(n,) bool, which latents are dead at this moment."""
        return self.silent >= self.settings.dead_after

    def _never_fired(self) -> int:
        """For how many vectors a latent must be silent to be counted as dead.

        If the training is shorter than ``dead_after``, the latents that never fired in it count.
        """
        return min(self.settings.dead_after, self.n_steps * self.settings.batch_size)

    def take_for_dead(self, dead: Tensor) -> None:
        """Let the next steps treat these latents, (n,) bool, as dead. This waits for the device."""
        self.dead_now, self.dead_latents = dead, self._indices(dead)

    def _indices(self, flags: Tensor) -> Tensor | None:
        """Of own latents; None if no process has any."""
        found = flags.nonzero().flatten()
        return found if self.processes.agree(len(found) > 0, self.device) else None

    def train(self, x: np.ndarray) -> tuple[Tensor, Forward]:
        """Take one step on this process' share of a batch.

        Args:
            x: (b, d) raw activations, float32 or, for a GPU, as they are stored.

        Returns:
            the normalised activations, and the forward pass, of the whole batch.
        """
        u = self.sae.normalise(self._on_device(x))
        if self.step % DEAD_EVERY == 0:
            self.take_for_dead(self.dead())
        forward = self.sae.loss(u, self.step, self.dead_latents)
        forward.terms.loss.backward()
        if self.sae.b_dec.grad is not None:
            self.processes.sum(self.sae.b_dec.grad)
        scale: float | Tensor = 1.0
        if self.settings.clip_norm is not None:
            self.sae.remove_parallel_gradient()
            self.grad_norm, scale = clipping(self.sae, self.settings.clip_norm)
        self.adam.step(self.step + 1, self.learning_rate(self.step), scale)
        self.sae.finish_step()
        self.silent = torch.where(forward.fired, 0, self.silent + len(u))
        self.step += 1
        bad = ~forward.terms.loss.detach().isfinite() & (self.first_bad < 0)
        self.first_bad = torch.where(bad, self.step, self.first_bad)
        return u, forward

    def _on_device(self, x: np.ndarray) -> Tensor:
        """Copy ``x`` to the dictionary's device, and get what other processes have of the batch.

        From pinned memory, without waiting for the GPU.
        """
        here = torch.from_numpy(x.view(np.int16) if x.dtype == np.uint16 else x)
        if self._copies is None:
            return widened(self.processes.batch(here))
        # Use another CUDA stream, so that the copy's end doesn't depend on earlier steps.
        with torch.cuda.stream(self._copies):
            there = here.to(self.device, non_blocking=True)
            copied = self._copies.record_event()
        steps = torch.cuda.current_stream(self.device)
        steps.wait_event(copied)
        there.record_stream(steps)
        if self._copying:
            self._copying[1].synchronize()
        self._copying = (x, copied)
        return widened(self.processes.batch(there))

    def figures(self, u: Tensor, forward: Forward) -> dict[str, float | int | None]:
        """Figures of the last step, for `train.jsonl`. This waits for the device."""
        line: dict[str, float | int | None] = {
            **{name: float(value.detach()) for name, value in forward.terms._asdict().items()},
            **_quality(self._sums(u, forward)),
            "dead": int(self.processes.sum((self.silent >= self._never_fired()).sum())),
            "lr": self.learning_rate(self.step - 1),
        }
        if self.settings.clip_norm is not None:
            line["grad_norm"] = float(self.grad_norm)
        if self.settings.resample_every is not None:
            line["resampled"] = self.resampled
        return line

    @torch.no_grad()
    def evaluate(self, x: np.ndarray) -> dict[str, float | int | None]:
        """The same figures for the current weights on held-out activations (h, d) float32."""
        totals: dict[str, float] = {}
        sums = metrics.StepSums(0, 0.0, 0.0, 0)
        given = self._indices(self.dead())
        self.sae.eval()  # the mode in which it will be loaded
        for part in np.array_split(x, -(-len(x) // EVAL_CHUNK)):
            u = self.sae.normalise(torch.from_numpy(part).to(self.device))
            forward = self.sae.loss(u, self.step, given)
            for name, value in forward.terms._asdict().items():
                totals[name] = totals.get(name, 0.0) + float(value) * len(part)
            sums += self._sums(u, forward)
        self.sae.train()
        means = {name: total / len(x) for name, total in totals.items()}
        return {**means, **_quality(sums)}

    def _sums(self, u: Tensor, forward: Forward) -> metrics.StepSums:
        return step_sums(u.detach(), forward.residual.detach(), forward.n_active, self.centre)

    def finite(self) -> bool:
        """Whether all weights are finite, and small enough for the next loss, with their
        squares."""
        here = all(bool(p.square().sum().isfinite()) for p in self.sae.parameters())
        return not self.processes.agree(not here, self.device)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, except ``step``.

        With several processes, only the first one gets whole tensors.
        """
        held = self._held()
        if self.processes.size == 1:
            return held
        return {name: self._whole(name, tensor) for name, tensor in held.items()}

    def _held(self) -> dict[str, Tensor]:
        state = {f"sae.{name}": tensor for name, tensor in self.sae.state_dict().items()}
        state |= self.adam.tensors()
        resampled = torch.tensor(self.resampled)
        return {
            **state,
            "silent": self.silent,
            "dead_now": self.dead_now,
            "resampled": resampled.to(self.device),
        }

    def whole_silent(self) -> Tensor:
        """`silent` of all latents, in the first process."""
        return self.processes.whole(self.silent, 0)

    def whole_sae(self) -> Sae | None:
        """The dictionary with all its latents, in the first process; None in others."""
        if self.processes.size == 1:
            return self.sae
        held = {name: self._whole(f"sae.{name}", t) for name, t in self.sae.state_dict().items()}
        if not self.processes.first:
            return None
        made = build(self.settings, self.sae.d)
        made.load_state_dict(held)
        return made

    def _whole(self, name: str, part: Tensor) -> Tensor:
        axis = self._axis(name)
        return part if axis is None else self.processes.whole(part, axis)

    def _axis(self, name: str) -> int | None:
        """Which axis of one of the `tensors` counts latents."""
        if name in ("silent", "dead_now"):
            return 0
        kind, _, parameter = name.partition(".")
        if kind == "adam":
            parameter = parameter.rpartition(".")[0]
        return self.sae.latent_axis.get(parameter)

    def restore(self, tensors: Mapping[str, Tensor] | None, step: int) -> None:
        """Resume from what `tensors` returned after ``step`` steps.

        With several processes, only the first one is given any.
        """
        if self.processes.size > 1:
            tensors = {name: self._part(name, held, tensors) for name, held in self._held().items()}
        assert tensors
        self.sae.load_state_dict(
            {k.removeprefix("sae."): v for k, v in tensors.items() if k.startswith("sae.")}
        )
        for name, moment in self.adam.tensors().items():
            moment.copy_(tensors[name])
        self.silent = tensors["silent"].to(self.device)
        self.take_for_dead(tensors["dead_now"].to(self.device))
        self.resampled = int(tensors["resampled"])
        self.step = step

    def _part(self, name: str, held: Tensor, wholes: Mapping[str, Tensor] | None) -> Tensor:
        """This process' part of a tensor that the first one has whole."""
        axis, several = self._axis(name), self.processes
        if wholes:
            whole = wholes[name].to(self.device)
        elif axis is None:
            whole = held.clone()
        else:
            n, *others = held.movedim(axis, 0).shape
            whole = held.new_empty(n * several.size, *others).movedim(0, axis)
        several.spread(whole)
        return whole if axis is None else part_of(whole, axis, several)


def widened(x: Tensor) -> Tensor:
    """Vectors as float32, exactly, if they are stored in a half type. int16 is bfloat16's bits."""
    half = x.view(torch.bfloat16) if x.dtype == torch.int16 else x
    return half.float() if half.dtype in (torch.float16, torch.bfloat16) else half


def in_short(line: Mapping[str, Any]) -> str:
    """A few figures of a line of `train.jsonl`, for the progress:
    ``loss 0.12 nmse 0.2 L0 32 dead 7``."""
    shown = {"loss": line["loss"], "nmse": line["nmse"], "L0": line["l0"]}
    figures = [f"{name} {value:.3g}" for name, value in shown.items() if value is not None]
    return " ".join([*figures, f"dead {line['dead']}"])


def _quality(sums: metrics.StepSums) -> dict[str, float | None]:
    return {"nmse": metrics.nmse_about_shift(sums), "l0": metrics.l0(sums)}
