"""What is known of projections of decoder directions when the workflow is parsed."""

from importlib.metadata import version
from typing import Any

from saev.dashboard.projection import LIBRARY, require_library
from saev.settings.config import Config


def projected(config: Config, components: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The settings of each job that projects, by the directory name of its analysis. Only analyses
    that ask for a projection have one.

    Raises:
        UserError: one asks, and openTSNE isn't installed.
    """
    found: dict[str, dict[str, Any]] = {}
    for directory, known in components["analysis"].items():
        if config.analysis[known["entry"]].projection:
            require_library(f"analysis.{known['entry']}.projection")
            found[directory] = {"library": f"{LIBRARY} {version(LIBRARY)}"}
    return found
