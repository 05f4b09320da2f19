"""Results of a training that wait in its state until its own job puts them in place.

So one job can train what others will hand in; and each job's `meta.json` is still written by itself.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from saev import sae as saes
from saev.artifacts.sae import CHECKPOINT, CURVE, FIGURE
from saev.files import read_json, write_bytes, write_json
from saev.training import curves
from saev.training.fit import Point

FOLDER, FACTS = "finished", "facts.json"
FILES = (CHECKPOINT, CURVE, FIGURE)


def there(state: Path) -> bool:
    """Whether the folder of a state holds all of a finished training."""
    return all((state / FOLDER / name).is_file() for name in (*FILES, FACTS))


def write(point: Point, inputs: dict[str, str], rate: float, trained_by: str) -> None:
    """Write the results of a point that has done all its steps into its state.

    Args:
        point: the dictionary, at its last step.
        inputs: digests of what it was trained on.
        rate: examples a second.
        trained_by: name of the dictionary whose job this is.
    """
    job, settings, state = point.job, point.job.settings, point.state
    assert state is not None, "only the process with a state writes results"
    folder = state.folder / FOLDER
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    saes.save(
        point.trainer.sae,
        folder / CHECKPOINT,
        settings=settings.model_dump(mode="json"),
        inputs=inputs,
        stream=job.stream.name,
    )
    lines = state.lines()
    write_bytes(folder / CURVE, state.curve.read_bytes())
    title = f"{point.name} · {settings.architecture} on {job.stream.name}"
    curves.draw(lines, settings.n_latents, title, folder / FIGURE)
    stopped_early = {}
    if settings.patience is not None:
        stopped_early = {"stopped_early": point.trainer.step < job.n_steps}
    facts = {
        "examples_per_second": round(rate, 1),
        "trained_by": trained_by,
        "summary": {
            "steps": point.trainer.step,
            "examples": point.trainer.step * settings.batch_size,
            **stopped_early,
            "n_train_images": len(job.split.training),
            "n_held_out_images": len(job.split.held_out),
            "n_train_examples": job.vectors.n,
            "n_held_out_examples": job.n_held_out,
            "final": lines[-1],
        },
    }
    write_json(folder / FACTS, facts)


def lines(state: Path) -> list[dict[str, Any]]:
    """The curve of a finished training."""
    text = (state / FOLDER / CURVE).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def take(state: Path, out: Path) -> dict[str, Any]:
    """Move the files of a finished training to its directory; return the facts about it.

    Killed in its middle, what was moved is lost, and training goes on from the state beside it.
    """
    facts = read_json(state / FOLDER / FACTS)
    for name in FILES:
        (state / FOLDER / name).replace(out / name)
    return facts
