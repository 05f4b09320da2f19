"""Memory of verified files, so that the jobs of a sweep don't each hash the same activations.

Each host keeps its lines in `.verified/HOST.jsonl`, beside the activations. A line says that a file
with this name, size, times, inode and device had this SHA-256. Lines are compared as a whole, so a
torn or altered line matches nothing. If the memory can't be read or written, files are hashed as
usual.

Every write to a file sets its ``ctime``, and no program can set it back. It doesn't reveal disk
errors, nor writes through a shared memory map that is still open. `saev check --deep` always
hashes.
"""

import hashlib
import os
import socket
from contextlib import suppress
from pathlib import Path

from saev.core.files import canonical_json

FOLDER = ".verified"
MARGIN_NS = 2_000_000_000
"""The slowest file systems store times in steps of 2 s, so a change within 2 s can go unnoticed."""


class Verified:
    """Memory of the files in a folder that this host verified.

    Device and inode numbers differ between hosts, so the lines of other hosts are ignored.

    Args:
        folder: the directory of the activations.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.path = self.folder / FOLDER / f"{socket.gethostname()}.jsonl"
        self._lines: set[bytes] = set()

    def matches(self, path: Path, sha256: str) -> bool:
        """Whether a file in the folder has this SHA-256. Hashes it only if it isn't remembered."""
        with path.open("rb") as file:
            # Use the open file: opening it makes a network file system ask its server.
            stat = os.fstat(file.fileno())
            line = self._line(path, stat, sha256)
            if self._remembers(line):
                return True
            now = self._clock()
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                return False
            unchanged = self._line(path, os.fstat(file.fileno()), sha256) == line
        # Times of two file systems can't be compared.
        old = now and now.st_dev == stat.st_dev and _changed(stat) + MARGIN_NS < now.st_ctime_ns
        if unchanged and old:
            self._remember(line)
        return True

    def _line(self, path: Path, stat: os.stat_result, sha256: str) -> bytes:
        content = {
            "name": path.relative_to(self.folder).as_posix(),
            "bytes": stat.st_size,
            "mtime_ns": stat.st_mtime_ns,
            "ctime_ns": stat.st_ctime_ns,
            "inode": stat.st_ino,
            "device": stat.st_dev,
            "sha256": sha256,
        }
        return canonical_json(content).encode()

    def _remembers(self, line: bytes) -> bool:
        if line not in self._lines:
            # Another job may have hashed it in the meantime.
            with suppress(OSError):
                self._lines = set(self.path.read_bytes().splitlines())
        return line in self._lines

    def _clock(self) -> os.stat_result | None:
        """Touch the memory. Its ``ctime`` is the present by the clock of the file system."""
        try:
            self.path.parent.mkdir(exist_ok=True)
            self.path.touch()
            return self.path.stat()
        except OSError:
            return None

    def _remember(self, line: bytes) -> None:
        with suppress(OSError), self.path.open("ab", buffering=0) as file:
            file.write(line + b"\n")


def _changed(stat: os.stat_result) -> int:
    return max(stat.st_mtime_ns, stat.st_ctime_ns)
