"""Finds dictionaries of a plan that can train in one pass over the activations."""

from typing import Any

from saev.settings.component import digest
from saev.settings.config import Config
from saev.settings.elsewhere import ElsewhereSettings

SEES = ("layer", "tokens", "held_out", "seed", "batch_size", "epochs", "shuffled_dimensions")
"""Settings that decide which vectors a dictionary sees, and in which order."""


def groups(
    config: Config, runs: list[dict[str, str]], components: dict[str, Any]
) -> dict[str, list[dict[str, Any]]]:
    """Groups of two or more dictionaries to train in one pass, by ``images/vit``.

    Returns:
        for each group its ``key``, a digest of the settings that its members share, and the
        settings of its ``members`` by directory name. Empty unless `train.together` is set.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for run in runs if config.train.together else []:
        known = components["sae"][run["sae"]]
        full = config.sae[known["entry"]]
        if full.processes > 1 or isinstance(full, ElsewhereSettings):
            continue
        key = digest({name: getattr(full, name) for name in SEES} | known["resolved"])
        here = found.setdefault(f"{run['images']}/{run['vit']}", {})
        here.setdefault(key, {})[run["sae"]] = known["settings"]
    shared = {
        where: [{"key": k, "members": m} for k, m in sorted(by_key.items()) if len(m) > 1]
        for where, by_key in found.items()
    }
    return {where: listed for where, listed in shared.items() if listed}
