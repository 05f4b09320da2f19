"""A folder tree of pictures.

The main process lists folders whenever the workflow is parsed, so nothing heavy is imported here.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saev.artifacts.images import GROUP_ROWS, Entry
from saev.errors import UserError, listed
from saev.sources.base import Source, names_and_sizes
from saev.sources.formats import EXTENSIONS, FOREIGN

if TYPE_CHECKING:
    import pyarrow


class Folder(Source):
    """Pictures found by their extension, in the order of their paths."""

    @property
    def where(self) -> str:
        return str(self.settings.folder)

    @cached_property
    def _listing(self) -> "Listing":
        results = Path("results").resolve()
        if results.is_dir() and results.is_relative_to(Path(self.where).resolve()):
            raise UserError(
                f"the folder {self.where} holds {results}, so the workflow's own pictures would count "
                f"as yours: put the pictures into a folder of their own"
            )
        return list_folder(self.where)

    def fingerprint(self) -> str:
        return self._listing.fingerprint

    def tables(self) -> Iterator["pyarrow.Table"]:
        import pyarrow as pa

        schema = pa.schema([("key", pa.string()), ("bytes", pa.int64())])
        keys, sizes = self._listing.keys, self._listing.sizes
        for start in range(0, len(keys), GROUP_ROWS):
            part = slice(start, start + GROUP_ROWS)
            yield pa.table([keys[part], sizes[part]], schema)

    def notes(self) -> dict[str, Any]:
        return {"ignored": self._listing.ignored}

    def read(self, entry: Entry) -> bytes:
        return Path(self.where, entry.key).read_bytes()


@dataclass(frozen=True)
class Listing:
    """The pictures under a folder, in the order that gives them their rows."""

    keys: list[str]
    """Paths relative to the folder, with ``/``, sorted by code point."""
    sizes: list[int]
    """Bytes of each file."""
    ignored: dict[str, int] = field(default_factory=dict)
    """Files that are no pictures, by extension."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over a line ``path NUL size`` for each picture: 64 hex digits."""
        return names_and_sizes(zip(self.keys, self.sizes, strict=True))


def list_folder(folder: str | Path) -> Listing:
    """List the pictures of ``folder`` and its subfolders.

    Hidden files and folders are passed over. Links are followed, a link to a folder that it lies in
    isn't.

    Raises:
        UserError: there is no such folder, no picture in it, a picture of a format that can't be read
            here, or a name that isn't UTF-8.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "doesn't exist"
        raise UserError(f"the folder of pictures {folder} {what}")
    found: list[tuple[str, int]] = []
    foreign: dict[str, list[str]] = {}
    ignored: Counter[str] = Counter()
    for key, size in _files(str(folder), "", frozenset()):
        extension = os.path.splitext(key)[1].lower()  # noqa: PTH122 (a Path a file is slow)
        if extension in EXTENSIONS:
            found.append((key, size))
        elif extension in FOREIGN:
            foreign.setdefault(FOREIGN[extension], []).append(key)
        else:
            ignored[extension] += 1
    _refuse(folder, foreign)
    if not found:
        kinds = ", ".join(f"{n:,} × {e or 'no extension'}" for e, n in ignored.most_common(5))
        raise UserError(
            f"there is no picture in {folder}"
            + (f"; it holds {kinds}" if kinds else "; it is empty")
            + ". Pictures are found by extension: .jpg, .png, .webp, .tif and the like"
        )
    found.sort()
    _refuse_odd_names(folder, found)
    return Listing([k for k, _ in found], [s for _, s in found], dict(ignored.most_common()))


def _files(folder: str, prefix: str, above: frozenset[str]) -> Iterator[tuple[str, int]]:
    """Yield relative path and size of each file that isn't hidden."""
    here = os.path.realpath(folder)
    if here in above:
        return
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    yield from _files(entry.path, f"{prefix}{entry.name}/", above | {here})
                elif entry.is_file():
                    yield prefix + entry.name, entry.stat().st_size
                elif entry.is_symlink():
                    raise UserError(f"{entry.path} is a link to nothing: mend or remove it")
    except OSError as error:
        raise UserError(f"can't list {folder}: {error.strerror}") from error


def _refuse(folder: Path, foreign: dict[str, list[str]]) -> None:
    if not foreign:
        return
    problems = [f"{name}: {len(keys):,}, such as {min(keys)}" for name, keys in foreign.items()]
    raise UserError(
        listed(sorted(problems), f"{folder} holds pictures of formats that can't be read:")
        + "\nConvert them to PNG, TIFF or JPEG, or move them out of the folder."
    )


def _refuse_odd_names(folder: Path, found: list[tuple[str, int]]) -> None:
    odd = []
    for key, _ in found:
        try:
            key.encode()
        except UnicodeEncodeError:
            odd.append(ascii(key))
    if odd:
        raise UserError(listed(odd, f"{folder} holds names that aren't UTF-8; rename them:"))
