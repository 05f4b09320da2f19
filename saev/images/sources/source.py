"""What every source of images offers. Imports nothing heavy."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from saev.core.errors import printable
from saev.settings.images import ImagesSettings

if TYPE_CHECKING:
    import pyarrow


GROUP_ROWS = 65_536
"""Rows per table of a source and per row group of the manifest, the smallest part read at once."""
IGNORED, WITHOUT_IMAGE, SPLITS = "ignored", "samples_without_image", "splits"
"""Keys of what `Source.notes` counts."""
SHOWN_KINDS = 8
SOURCE = "source."
"""Prefix of the columns that come with the source."""


class Entry(NamedTuple):
    """One image of the manifest."""

    row: int
    """Position in the listing."""
    key: str
    """Its name in the source. In a folder: the path relative to it, with ``/``."""
    bytes: int | None
    """Size when it was listed, if the source knows it."""
    file: str | None = None
    """The file that holds it, if that file holds several images."""
    offset: int | None = None
    """Where it begins in that file."""


class SourceFiles(NamedTuple):
    """The files of a source, in order; each list has an item per file."""

    name: list[str]
    size: list[int]
    """Bytes."""
    mtime_ns: list[int]
    """Time of the last change, in ns."""
    inode: list[int]


S = TypeVar("S", bound=ImagesSettings)


class Source(Generic[S]):
    """Images in a fixed order, each with a key; perhaps with further columns.

    Args:
        settings: an entry of `images`, of this source's class.
    """

    def __init__(self, settings: S) -> None:
        self.settings = settings

    @property
    def where(self) -> str:
        """Its name in error messages."""
        raise NotImplementedError

    holder: str | None = None
    """Column of the listing that names the file of each image. None: any file may hold it."""

    def files(self) -> SourceFiles:
        """The files that hold the images and their labels.

        Raises:
            UserError: the source is missing or empty.
        """
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Identify the content without reading it: SHA-256 of names and sizes, or the revision.

        Raises:
            UserError: the source is missing or empty.
        """
        files = self.files()
        return names_and_sizes(zip(files.name, files.size, strict=True))

    def images_in(self, names: set[str], listing: Path) -> dict[str, list[Entry]]:
        """The images in some of the files, in row order, by file; from a listing."""
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        known = pq.read_schema(listing).names
        columns = [name for name in Entry._fields if name in known]
        here = self.holder if self.holder in known else None
        wanted = pc.field(here).isin(list(names)) if here else None
        found = [
            Entry(**row)
            for row in pq.read_table(listing, columns=columns, filters=wanted).to_pylist()
        ]
        if here is None:
            return dict.fromkeys(names, found)
        held: dict[str, list[Entry]] = {}
        for entry in sorted(found):
            held.setdefault(getattr(entry, here), []).append(entry)
        return held

    def tables(self) -> Iterator["pyarrow.Table"]:
        """Yield tables of the images in row order.

        Their columns are ``key`` (text), ``bytes`` (int64, null if unknown), for tars ``file``
        (text) and ``offset`` (int64), for parquet files ``file``, and further columns as
        ``source.<name>``.

        Raises:
            UserError: something in the source can't be used; says what and where.
        """
        raise NotImplementedError

    def notes(self) -> dict[str, Any]:
        """What was left out, or which commit was read, for `run.json`.

        Empty if that isn't known before `tables`.
        """
        return {}

    def read(self, entry: Entry) -> bytes:
        """The bytes of one image file. Several threads may call it at once.

        Raises:
            OSError: they can't be read.
        """
        raise NotImplementedError


def passed_over(notes: dict[str, Any]) -> str:
    """Say what was left out, by kind and count; empty if nothing was."""
    counts = [(n, kind or "without extension") for kind, n in notes.get(IGNORED, {}).items()]
    if notes.get(WITHOUT_IMAGE):
        counts.append((notes[WITHOUT_IMAGE], "samples without an image"))
    shown = [f"{n:,} × {printable(kind)}" for n, kind in counts[:SHOWN_KINDS]]
    if len(counts) > SHOWN_KINDS:
        more = counts[SHOWN_KINDS:]
        shown.append(f"{sum(n for n, _ in more):,} of {len(more):,} more kinds")
    return ", ".join(shown)


def read_regular(path: Path) -> bytes:
    """The bytes of a file. What became a pipe or a device since it was listed isn't waited for.

    Raises:
        OSError: it can't be read, or is no regular file.
    """
    with open_regular(path) as file:
        return file.read()


def open_regular(path: Path) -> IO[bytes]:
    """Open a file for reading, as `read_regular` does.

    Raises:
        OSError: it can't be opened, or is no regular file.
    """

    def opened(name: str, flags: int) -> int:
        handle = os.open(name, flags | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise OSError(errno.EINVAL, "it is no regular file", name)
        return handle

    return open(path, "rb", opener=opened)


def stated(base: Path, names: list[str]) -> SourceFiles:
    """Sizes, times and inodes of files in a folder.

    Raises:
        OSError: one is missing.
    """
    found = [(base / name).stat() for name in names]
    return SourceFiles(
        names,
        [s.st_size for s in found],
        [s.st_mtime_ns for s in found],
        [s.st_ino for s in found],
    )


def names_and_sizes(files: Iterable[tuple[str, int]]) -> str:
    """SHA-256 over one line ``name NUL size`` per file, 64 hex digits."""
    total = hashlib.sha256()
    for name, size in files:
        total.update(f"{name}\0{size}\n".encode())
    return total.hexdigest()
