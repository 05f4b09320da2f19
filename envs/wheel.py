"""Adds the workflow's files to the wheel: those at the top of the repository for `saev run`."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FILES = (
    *(
        "Snakefile",
        "config.yaml",
        "rules/*.smk",
        "rules/report/*.rst",
        "profiles/*/*",
        "envs/*.yaml",
    ),
    *("demo/*.py", "demo/*.smk", "demo/*.yaml", "examples/*.yaml", "docs/*.md"),
)
FOLDER = "saev/workflow/files"
"""Where they lie in the wheel. `saev.workflow.digests.FILES` finds them there."""


class WorkflowFiles(BuildHookInterface):
    """Adds the files to an ordinary wheel. An editable install finds them in the clone."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "standard":
            return
        root = Path(self.root)
        for path in (path for pattern in FILES for path in sorted(root.glob(pattern))):
            build_data["force_include"][str(path)] = f"{FOLDER}/{path.relative_to(root)}"
