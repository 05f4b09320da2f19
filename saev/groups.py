"""Which dictionaries of a plan can be trained in one pass over the activations."""

from typing import Any

from saev.settings.base import digest
from saev.settings.config import Config

SEES = ("layer", "tokens", "held_out", "seed", "batch_size", "epochs")
"""Settings of a dictionary that say which vectors it sees, in which order."""


def groups(
    config: Config, runs: list[dict[str, str]], components: dict[str, Any]
) -> dict[str, list[dict[str, Any]]]:
    """Dictionaries that are trained in one pass: groups of two or more, by ``images/vit``.

    Returns:
        of each group the ``key``, a digest of what its members agree in, and the settings of its
        ``members`` by directory name; nothing if training together isn't asked for.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for run in runs if config.train.together else []:
        known = components["sae"][run["sae"]]
        full = config.sae[known["entry"]]
        if full.processes > 1:
            continue
        key = digest({name: getattr(full, name) for name in SEES})
        here = found.setdefault(f"{run['images']}/{run['vit']}", {})
        here.setdefault(key, {})[run["sae"]] = known["settings"]
    shared = {
        where: [{"key": k, "members": m} for k, m in sorted(by_key.items()) if len(m) > 1]
        for where, by_key in found.items()
    }
    return {where: listed for where, listed in shared.items() if listed}
