"""Results of a finished training wait in its state until its own job puts them in place.

So one job can train the dictionaries of others, and each job still writes its own `meta.json`.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from saev import sae as saes
from saev.core import logs
from saev.core.files import place, read_json, write_bytes, write_json
from saev.core.meta import META
from saev.train import learning_plot
from saev.train.artifact import CHECKPOINT, CURVE, HELD_OUT, PLOT
from saev.train.doubts import after, before
from saev.train.fit import Learner

FOLDER, FACTS = "finished", "facts.json"
FILES = (CHECKPOINT, CURVE, PLOT)


def there(state: Path) -> bool:
    """Whether the folder of a state holds all results of a finished training."""
    return all((state / FOLDER / name).is_file() for name in (*FILES, FACTS))


def write(learner: Learner, inputs: dict[str, str], rate: float, trained_by: str) -> None:
    """Write the results of a dictionary that has taken all its steps into its state.

    Args:
        learner: the dictionary, at its last step.
        inputs: digests of what it was trained on.
        rate: examples per second.
        trained_by: name of the dictionary whose job this is.

    Raises:
        UserError: another process has taken over the state.
    """
    task, settings, state = learner.task, learner.task.settings, learner.state
    assert state is not None, "only the process with a state writes results"
    assert learner.result is not None, "the training has ended"
    state.held.require()
    folder = state.folder / FOLDER
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    saes.save(
        learner.result,
        folder / CHECKPOINT,
        inputs=inputs,
        stream=task.stream.name,
    )
    grouped = {}
    if task.split.groups is not None:
        np.save(folder / HELD_OUT, task.split.held_out)
        grouped = {
            "groups": task.split.groups,
            "n_groups": task.split.n_groups,
            "n_held_out_groups": task.split.n_held_out_groups,
        }
    lines = state.lines()
    write_bytes(folder / CURVE, state.curve.read_bytes())
    title = f"{learner.name} · {settings.architecture} on {task.stream.name}"
    learning_plot.draw(lines, settings.n_latents, title, folder / PLOT)
    stopped_early = {}
    if settings.patience is not None:
        stopped_early = {"stopped_early": learner.trainer.step < task.n_steps}
    doubts = after(settings, learner.trainer.step, task.std, lines[-1])
    said = before(settings, task.n_steps, task.std)
    for doubt in doubts:
        if doubt not in said:
            logs.say(f"warning: {learner.name}: {doubt}")
    facts = {
        "examples_per_second": round(rate, 1),
        "trained_by": trained_by,
        "summary": {
            "steps": learner.trainer.step,
            "examples": learner.trainer.step * settings.batch_size,
            **stopped_early,
            "n_train_images": len(task.split.training),
            "n_held_out_images": len(task.split.held_out),
            **grouped,
            "n_train_examples": task.vectors.n,
            "n_held_out_examples": task.n_held_out,
            "final": lines[-1],
            **({"doubts": doubts} if doubts else {}),
        },
    }
    write_json(folder / FACTS, facts)


def lines(state: Path) -> list[dict[str, Any]]:
    """The curve of a finished training."""
    text = (state / FOLDER / CURVE).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def facts_of(state: Path) -> dict[str, Any]:
    """Facts about a finished training: its summary, speed, and whose job trained it."""
    return read_json(state / FOLDER / FACTS)


def folder_of(state: Path) -> Path:
    """Where the files of a finished training wait."""
    return state / FOLDER


def results(state: Path) -> list[str]:
    """Names of the files of a finished training that count, without its plot."""
    grouped = (state / FOLDER / HELD_OUT).is_file()
    return [CHECKPOINT, CURVE, *([HELD_OUT] if grouped else [])]


def take(state: Path, out: Path) -> None:
    """Put the files of a finished training in their places, `meta.json` last."""
    for name in (*results(state), PLOT, META):
        place(state / FOLDER / name, out / name)
