"""A walk through a folder tree that meets each folder and each linked file once."""

import os
import stat
from collections import Counter
from collections.abc import Container, Iterator
from pathlib import Path

from saev.core.errors import UserError
from saev.images.sources.formats import EXTENSIONS

BROKEN_LINK, CLOSED = "broken links", "folders that you may not open"
LINKED_AGAIN = "links to folders or files that are listed already"
NO_FILE = "pipes, sockets or devices"
HIDDEN = "hidden files or folders"

FoundFile = tuple[str, int, int, int]
"""Relative path, bytes, time of the last change in ns, inode: plain, as there may be millions."""


class Walk:
    """A walk through a folder.

    Args:
        folder: where it starts.
        extensions: those of the files that are looked for, in lower case.
    """

    def __init__(self, folder: str, extensions: Container[str] = EXTENSIONS) -> None:
        self.folder, self.extensions = folder, extensions
        self.root = os.path.realpath(folder)
        self.broken: list[str] = []
        """Links to nothing, in a circle, or to what can't be reached."""
        self.closed: list[str] = []
        """Folders that can't be opened for want of rights."""
        self.passed_over: Counter[str] = Counter()
        """Number of what else isn't listed, by kind."""
        self._met: set[str] = set()
        self._links: list[tuple[FoundFile, str]] = []

    def files(self) -> Iterator[FoundFile]:
        """Yield each visible file: first those that lie in the folders, then linked ones.

        Raises:
            UserError: a folder can't be listed, for another reason than rights.
        """
        yield from self._inside(self.folder, "")
        real_files: set[str] = set()
        for file, path in sorted(self._links):
            real = os.path.realpath(path)
            if real in real_files or self._is_listed(real):
                self.passed_over[LINKED_AGAIN] += 1
            else:
                real_files.add(real)
                yield file

    def _inside(self, folder: str, prefix: str) -> Iterator[FoundFile]:
        here = os.path.realpath(folder)
        if here in self._met:
            self.passed_over[LINKED_AGAIN] += 1
            return
        self._met.add(here)
        folders: list[tuple[bool, str, str]] = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        self.passed_over[HIDDEN] += 1
                        continue
                    about = self._stat(entry)
                    if about is None:
                        continue
                    if stat.S_ISDIR(about.st_mode):
                        folders.append((entry.is_symlink(), entry.name, entry.path))
                    elif stat.S_ISREG(about.st_mode):
                        key = prefix + entry.name
                        file = (key, about.st_size, about.st_mtime_ns, about.st_ino)
                        if entry.is_symlink():
                            self._links.append((file, entry.path))
                        else:
                            yield file
                    else:
                        self.passed_over[NO_FILE] += 1
        except PermissionError:
            self.closed.append(folder)
        except OSError as error:
            raise UserError(f"can't list {folder}: {error.strerror}") from error
        for is_link, name, path in sorted(folders):
            if is_link and self._lies_in_the_tree(os.path.realpath(path)):
                self.passed_over[LINKED_AGAIN] += 1
            else:
                yield from self._inside(path, f"{prefix}{name}/")

    def _stat(self, entry: "os.DirEntry[str]") -> os.stat_result | None:
        """What an entry is, behind links; None if it leads nowhere or was just removed."""
        try:
            return entry.stat()
        except FileNotFoundError:
            if entry.is_symlink():
                self.broken.append(entry.path)
        except OSError:
            if not entry.is_symlink():
                raise
            self.broken.append(entry.path)
        return None

    def _lies_in_the_tree(self, path: str) -> bool:
        """Whether the walk meets a folder where it really lies."""
        inside = os.path.relpath(path, self.root)
        return not any(part.startswith(".") and part != "." for part in Path(inside).parts)

    def _is_listed(self, path: str) -> bool:
        """Whether a file is listed where it really lies."""
        folder, name = os.path.split(path)
        return folder in self._met and name[0] != "." and extension_of(name) in self.extensions


def extension_of(key: str) -> str:
    """The extension of a file name, in lower case and with its dot."""
    return os.path.splitext(key)[1].lower()  # noqa: PTH122 (a Path a file is slow)


def kind_of(extension: str) -> str:
    """What files with an unknown extension are counted under: ``.jpg?size=large`` as ``.jpg?…``.

    Bytes that aren't UTF-8 are written as ``\\xff``, so that the count can be kept in a file.
    """
    start, mark, _ = extension.partition("?")
    kind = f"{start}{mark}…" if mark else extension
    return kind.encode(errors="surrogateescape").decode(errors="backslashreplace")
