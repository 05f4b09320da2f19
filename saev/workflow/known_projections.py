"""What is known of projections of decoder directions when the workflow is parsed."""

from importlib.metadata import version
from typing import Any

from saev.core.files import canonical_json
from saev.dashboard.projection import LIBRARY, require_library
from saev.settings.config import Config
from saev.workflow.hashes import Hashes

MODULE = "saev.dashboard.projection"


def projected(config: Config, components: dict[str, Any], hashes: Hashes) -> dict[str, str]:
    """The parameter of each job that projects, by the directory name of its analysis. Only analyses
    that ask for a projection have one.

    Raises:
        UserError: one asks, and openTSNE isn't installed.
    """
    found: dict[str, str] = {}
    for directory, known in components["analysis"].items():
        if config.analysis[known["entry"]].projection:
            require_library(f"analysis.{known['entry']}.projection")
            spec = {"code": hashes.module(MODULE), "versions": {LIBRARY: version(LIBRARY)}}
            found[directory] = canonical_json({**spec, "settings": {}})
    return found
