"""A job refuses to run other code than its run was planned with.

The digest of the code stands in the parameters of a job. If the code changed while the job waited,
for example by `git pull`, the job would record what new code made under the digest of the old one.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

from saev.core.errors import UserError
from saev.core.plan_file import read_plan

ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds the package."""
SOURCES = ("saev/**/*", "demo/*.py")
"""Files that digests of code can depend on."""


def sources_digest(root: Path = ROOT) -> str:
    """SHA-256 of all files that digests of code can depend on, 64 hex digits."""
    paths = [p for pattern in SOURCES for p in root.glob(pattern)]
    total = hashlib.sha256()
    for path in sorted(p for p in paths if p.parent.name != "__pycache__" and p.is_file()):
        data = path.read_bytes()
        total.update(f"{path.relative_to(root)}\0{len(data)}\0".encode() + data)
    return total.hexdigest()


def require_planned_code(module: str, spec: str) -> None:
    """Check that the code of a job is what its plan counted, if it has a plan.

    Syntax trees take a second, so they are compared only if any file of code changed.

    Args:
        module: the module that runs, such as ``saev.train``.
        spec: the content of ``--spec``.

    Raises:
        UserError: it isn't.
    """
    planned = read_plan().get("sources")
    if planned is None or planned == sources_digest():
        return
    try:
        code = json.loads(spec)["code"]
    except (ValueError, KeyError, TypeError):
        return  # whoever reads it says what is wrong
    found = subprocess.run(
        [sys.executable, "-m", "saev.workflow.digests", module],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode or found.stdout.strip() != code:
        raise UserError(
            f"the code of {module} changed after this run was planned, so the job would take new "
            f"code for the old: start the workflow again. What is complete isn't made again"
        )
