"""Baselines that a run asks for: the same run with a tower or a dictionary that learnt nothing.

Each is an ordinary run, whose entry has the name of the run's own and `.untrained`. So runs that
ask for the same baseline share it, and it is made once.

`shuffled_activations` is no run: it adds two dictionaries, which only the stability of the run's
evaluation is compared with. The points of a sweep of `init_seed` share them.
"""

from typing import Any, NamedTuple

from saev.core.errors import UserError, listed
from saev.settings.elsewhere import ElsewhereSettings

SUFFIX = ".untrained"
SHUFFLED, SHUFFLED_SUFFIXES = "shuffled_activations", (".shuffled", ".shuffled_2")
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
    runs = [
        run.model_copy(update={"baselines": (SHUFFLED,) * (SHUFFLED in run.baselines)})
        for run in given.runs
    ]
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
            if baseline == SHUFFLED:
                problems += _add_shuffled(where, run.sae, sections["sae"])
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


def doubts(vit: dict[str, Any]) -> list[str]:
    """What to say of towers that are as untrained as the baseline beside them.

    Args:
        vit: all entries by name, with those of baselines.
    """
    return [
        f"vit.{name}: its weights are random, so the baseline untrained_tower says nothing"
        for name, own in vit.items()
        if own.weights == TOWER["weights"] and name + SUFFIX in vit
    ]


def shuffled_of(run: Any, sae: dict[str, Any]) -> list[str]:
    """The entries that were added for the baseline `shuffled_activations` of a run, if any.

    Args:
        run: the run; sae: all entries by name.
    """
    if SHUFFLED not in run.baselines:
        return []
    return [_named(made, sae) or "" for made in _shuffled(sae[run.sae])]


def _shuffled(own: Any) -> list[Any]:
    """Two settings that differ in `init_seed`, the same for all points of a sweep of it."""
    changes = ({"init_seed": own.seed + i, "shuffled_dimensions": True} for i in range(2))
    return [own.model_copy(update=change) for change in changes]


def _named(made: Any, sae: dict[str, Any]) -> str | None:
    alike = (name for name, one in sae.items() if name.endswith(SHUFFLED_SUFFIXES) and one == made)
    return next(alike, None)


def _add_shuffled(where: str, name: str, sae: dict[str, Any]) -> list[str]:
    """Add the entries of one run to ``sae``; return what is wrong."""
    problems = []
    for suffix, made in zip(SHUFFLED_SUFFIXES, _shuffled(sae[name]), strict=True):
        if _named(made, sae) is None and sae.setdefault(name + suffix, made) != made:
            problems.append(f"{where}: there is another sae.{name}{suffix}: rename it")
    return problems
