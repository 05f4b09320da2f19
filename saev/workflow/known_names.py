"""What is known of names that people gave to latents when the workflow is parsed."""

from pathlib import Path
from typing import Any

from saev.core import logs
from saev.dashboard.given_names import read_names, require_latents
from saev.settings.config import Config
from saev.workflow.hashes import Hashes


def named(
    config: Config, runs: list[dict[str, str]], components: dict[str, Any], hashes: Hashes
) -> dict[str, dict[str, str]]:
    """The settings of what lies beside pages, by the directory name of their analysis.

    Says how many names no run shows.

    Raises:
        UserError: a file of names is missing or can't be read, or a dictionary has no such latent.
    """
    found: dict[str, dict[str, str]] = {}
    for directory, known in components["analysis"].items():
        path = config.analysis[known["entry"]].names
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
    return found


def _size(sae: dict[str, Any]) -> int:
    """Number of latents of a dictionary."""
    return sae.get("n_latents") or sae["settings"]["n_latents"]
