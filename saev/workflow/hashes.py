"""Digests of files and of code, remembered from one start of the workflow to the next."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from saev.core.errors import UserError
from saev.core.files import sha256_file
from saev.core.planned import sources_digest
from saev.workflow.digests import code_digest, module_digest
from saev.workflow.remembered import remember, remembered
from saev.workflow.stage import Stage

CODE = "code: "


class Hashes:
    """Remembers SHA-256 of files by path, size and times, because weights files are large.

    A program can set back the time of a file's content (``mtime``), but not that of its last change
    (``ctime``).

    Digests of code are remembered until a file of code changes, because syntax trees take a second.

    Args:
        path: the file that remembers them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, str] = remembered(path)
        self.before = dict(self.known)

    def of(self, path: str) -> str:
        """SHA-256 of the file at ``path``."""
        stat = Path(path).stat()
        facts = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
        key = "\0".join(map(str, (Path(path).resolve(), *facts)))
        return self._remembered(key, lambda: sha256_file(path))

    def of_setting(self, key: str, path: str) -> str:
        """SHA-256 of the file that the setting ``key`` names.

        Raises:
            UserError: there is no such file.
        """
        if not Path(path).is_file():
            raise UserError(f"{key}: there is no file {path}")
        return self.of(path)

    def stage(self, stage: Stage) -> str:
        """Digest of the code that can change what a stage makes."""
        return self._of_code(f"stage {stage.name}", lambda: code_digest(stage))

    def module(self, name: str) -> str:
        """Digest of the code that a module may run."""
        return self._of_code(f"module {name}", lambda: module_digest(name))

    def save(self) -> None:
        """Write what is remembered to the file, without digests of code that has changed since."""
        self.known = {
            key: value
            for key, value in self.known.items()
            if not key.startswith(CODE) or key.endswith(self.sources)
        }
        if self.known != self.before:
            remember(self.path, self.known)

    def _of_code(self, what: str, find: Callable[[], str]) -> str:
        return self._remembered(f"{CODE}{what}\0{self.sources}", find)

    def _remembered(self, key: str, find: Callable[[], str]) -> str:
        if key not in self.known:
            self.known[key] = find()
        return self.known[key]

    @cached_property
    def sources(self) -> str:
        """SHA-256 of all files of code."""
        return sources_digest()
