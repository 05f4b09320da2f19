"""The last state of a long training. It is kept beside the dictionary, so that the last steps can
be made again with other code."""

import json
import shutil
from pathlib import Path
from typing import Any

from saev.core.files import atomic_path, canonical_json
from saev.train.artifact import CURVE

FOLDER = ".last"
"""Folder in the directory of a dictionary. It is no result: it depends on when states were saved,
and can be removed at any time."""


def keep(state: Path, out: Path, facts: dict[str, Any], after: float) -> None:
    """Keep the last state of a finished training, and remove that of an earlier one.

    Args:
        state: the folder of its state, which is removed afterwards.
        out: directory of the dictionary; facts: see `finished.facts_of`.
        after: a training that took at most this many seconds keeps none.
    """
    from saev.train.training_state import STATE

    shutil.rmtree(out / FOLDER, ignore_errors=True)
    seconds = facts["summary"]["examples"] / max(facts["examples_per_second"], 0.1)
    if seconds > after and (state / STATE).is_file():
        (out / FOLDER).mkdir()
        (state / STATE).replace(out / FOLDER / STATE)


def adopt(dictionary: Path, state: Path) -> int | None:
    """Let a training resume from the kept state of a finished one.

    Args:
        dictionary: directory of the finished training.
        state: the folder of the state of the other, which isn't running.

    Returns:
        the step of the kept state; None if none is kept.
    """
    from safetensors import safe_open
    from safetensors.torch import save_file

    from saev.train.training_state import KEY, STATE

    path = dictionary / FOLDER / STATE
    if not path.is_file():
        return None
    with safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()[KEY])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    shutil.copyfile(dictionary / CURVE, state / CURVE)
    with atomic_path(state / STATE) as made:
        save_file(tensors, made, {KEY: canonical_json({**facts, "of": state.name})})
    return int(facts["step"])
