"""What is known of names that people gave to latents when the workflow is parsed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from saev.analyze.names_file import (
    FEWEST_NAMES,
    digest_of,
    distinct,
    n_texts,
    read_names,
    require_latents,
)
from saev.core import logs
from saev.core.errors import UserError
from saev.settings.config import Config
from saev.workflow.hashes import Hashes


def named(
    config: Config, runs: list[dict[str, str]], components: dict[str, Any], hashes: Hashes
) -> dict[str, dict[str, Any]]:
    """The settings of what finishes pages, by the directory name of their analysis.

    Says how many names no run shows.

    Raises:
        UserError: a file of names is missing or can't be read, or a dictionary has no such latent.
    """
    found: dict[str, dict[str, Any]] = {}
    for directory, known in components["analysis"].items():
        settings = config.analysis[known["entry"]]
        path = settings.names
        found[directory] = {}
        if path is None:
            continue
        where = f"analysis.{known['entry']}.names"
        sizes = {
            f"{run['images']}/{run['vit']}/{run['sae']}": _size(components["sae"][run["sae"]])
            for run in runs
            if run["analysis"] == directory
        }
        said = require_latents(where, read_names(where, Path(path)), sizes)
        if said:
            logs.say(said)
        found[directory] = {"names": path, "sha256": hashes.of(path)}
        if settings.score_names:
            found[directory]["score_names"] = True
    return found


def scored(
    config: Config,
    runs: list[dict[str, str]],
    components: dict[str, Any],
    no_text_tower: Callable[[str], str],
) -> dict[str, dict[str, str]]:
    """The settings with which names are scored, by the path of their analysis.

    Says which dictionaries have too few names, and, once for an entry, if none has any: most names
    are for a few of many dictionaries.

    Args:
        no_text_tower: why no text tower belongs to the tower of an entry; empty if one does.

    Raises:
        UserError: names are to be scored for a tower without a text tower.
    """
    found: dict[str, dict[str, str]] = {}
    n_names: dict[str, dict[str, int]] = {}
    for run in runs:
        entry = components["analysis"][run["analysis"]]["entry"]
        settings = config.analysis[entry]
        if not settings.score_names or settings.names is None:
            continue
        where = f"analysis.{entry}.score_names"
        dictionary = "/".join(run[kind] for kind in ("images", "vit", "sae"))
        rows = read_names(f"analysis.{entry}.names", Path(settings.names))
        named = distinct(rows, dictionary)
        vit = components["vit"][run["vit"]]["entry"]
        if named and (reason := no_text_tower(vit)):
            raise UserError(f"{where}: names of {dictionary} can't be scored: vit.{vit}: {reason}")
        n = n_names.setdefault(where, {})[dictionary] = n_texts(named)
        if n >= FEWEST_NAMES:
            about = {"names": settings.names, "sha256": digest_of(named)}
            found[f"{dictionary}/{run['analysis']}"] = about
    for where, counts in n_names.items():
        needed = f"{FEWEST_NAMES} are needed to score them"
        for dictionary, n in counts.items():
            if 0 < n < FEWEST_NAMES:
                logs.say(f"{where}: {dictionary} has {n} different names; {needed}")
        if not any(counts.values()):
            logs.say(f"{where}: no dictionary has a name; {needed}")
    return found


def _size(sae: dict[str, Any]) -> int:
    """Number of latents of a dictionary."""
    return sae.get("n_latents") or sae["settings"]["n_latents"]
