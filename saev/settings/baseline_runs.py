"""Baselines that a run asks for: the same run with a tower or a dictionary that learnt nothing.

Each is an ordinary run, whose entry has the name of the run's own and `.untrained`. So runs that
ask for the same baseline share it, and it is made once.
"""

from typing import Any, NamedTuple

from saev.core.errors import UserError, listed
from saev.settings.elsewhere import ElsewhereSettings

SUFFIX = ".untrained"
TOWER: dict[str, Any] = {
    "weights": "random",
    "weights_sha256": None,
    "weights_seed": 0,
    "like": None,
    "made": False,
}
"""What an untrained tower has in place of a run's own settings."""
DICTIONARY: dict[str, Any] = {
    "epochs": 1e-12,
    "lr": 1e-12,
    "warmup_steps": 0,
    "schedule": "constant",
    "resample_every": None,
    "patience": None,
    "processes": 1,
}
"""What an untrained dictionary has: one step that moves no weight by more than 1e-12."""


CHANGED: dict[str, tuple[str, dict[str, Any]]] = {
    "untrained_tower": ("vit", TOWER),
    "untrained_dictionary": ("sae", DICTIONARY),
}


class Entries(NamedTuple):
    """The runs, and the entries of two sections by name."""

    runs: tuple[Any, ...]
    vit: dict[str, Any]
    sae: dict[str, Any]


def with_baselines(given: Entries) -> Entries:
    """The same with the runs that others ask for as baselines, after all others.

    Raises:
        UserError: a run asks for one that can't be, or an entry has its name.
    """
    runs = [run.model_copy(update={"baselines": ()}) for run in given.runs]
    sections = {"vit": dict(given.vit), "sae": dict(given.sae)}
    problems = []
    for number, run in enumerate(given.runs):
        for baseline in run.baselines:
            where = f"runs[{number}].baselines: {baseline}"
            if isinstance(given.sae[run.sae], ElsewhereSettings):
                problems.append(
                    f"{where}: sae.{run.sae} was trained elsewhere, so nothing here can be trained "
                    f"like it: leave baselines out"
                )
                continue
            kind, changed = CHANGED[baseline]
            own, name = getattr(given, kind)[getattr(run, kind)], getattr(run, kind) + SUFFIX
            made = own.model_copy(update={k: v for k, v in changed.items() if hasattr(own, k)})
            if sections[kind].setdefault(name, made) != made:
                problems.append(f"{where}: there is another {kind}.{name}: rename it")
            other = run.model_copy(update={kind: name, "baselines": (), "reference": None})
            if other not in runs:
                runs.append(other)
    if problems:
        raise UserError(listed(problems, "the settings have problems:"))
    return Entries(tuple(runs), **sections)
