"""What every source of pictures offers. Nothing heavy is imported here."""

import glob
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saev.artifacts.images import Entry
from saev.errors import UserError
from saev.settings.images import ImagesSettings

if TYPE_CHECKING:
    import pyarrow


class Source:
    """Pictures in a fixed order, each with a key, and perhaps columns of its own.

    Args:
        settings: an entry of `images`, whose kind of source is this one.
    """

    def __init__(self, settings: ImagesSettings) -> None:
        self.settings = settings

    @property
    def where(self) -> str:
        """What errors call it."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """What tells this content from another, found without reading it: SHA-256 of names and sizes.

        Raises:
            UserError: there is nothing there.
        """
        raise NotImplementedError

    def tables(self) -> Iterator["pyarrow.Table"]:
        """The pictures in the order of their rows: ``key`` (text), ``bytes`` (int64, null if unknown),
        where they lie if the key doesn't tell (``file`` text, ``offset`` int64), ``source.<name>``.

        Raises:
            UserError: something in it can't be used; says what and where.
        """
        raise NotImplementedError

    def notes(self) -> dict[str, Any]:
        """What was passed over, for `run.json`; known after `tables`."""
        return {}

    def read(self, entry: Entry) -> bytes:
        """The bytes of one picture, as a file would hold them. Threads may call it at once.

        Raises:
            OSError: they can't be read.
        """
        raise NotImplementedError


def names_and_sizes(files: Iterable[tuple[str, int]]) -> str:
    """SHA-256 over a line ``name NUL size`` for each file: 64 hex digits."""
    total = hashlib.sha256()
    for name, size in files:
        total.update(f"{name}\0{size}\n".encode())
    return total.hexdigest()


def find_files(key: str, pattern: str, suffix: str) -> tuple[Path, list[str]]:
    """Files that a setting names: a file, a folder (searched with its subfolders), or a pattern.

    Returns:
        The folder that all lie in, and their names in it, sorted.

    Raises:
        UserError: there are none.
    """
    path = Path(pattern)
    if path.is_dir():
        base, found = path, sorted(path.rglob(f"*{suffix}"))
    elif glob.has_magic(pattern):
        parts = path.parts
        fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
        base = Path(*parts[:fixed])
        found = sorted(Path(p) for p in glob.glob(pattern, recursive=True))  # noqa: PTH207 (**)
    else:
        base, found = path.parent, [path] if path.is_file() else []
    names = [p.relative_to(base).as_posix() for p in found if p.is_file()]
    if not names:
        raise UserError(
            f"{key}: there is no file {pattern}"
            if not (path.is_dir() or glob.has_magic(pattern))
            else f"{key}: no {suffix} file is found by {pattern}"
        )
    return base, sorted(names)
