"""A folder tree of images.

The main process lists folders whenever the workflow is parsed, so this imports nothing heavy.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saev.core.errors import UserError, listed, printable
from saev.images.sources.formats import EXTENSIONS, FOREIGN
from saev.images.sources.source import (
    GROUP_ROWS,
    IGNORED,
    Entry,
    Source,
    SourceFiles,
    names_and_sizes,
    passed_over,
    read_regular,
)
from saev.images.sources.walk import BROKEN_LINK, CLOSED, FoundFile, Walk, extension_of, kind_of
from saev.settings.images import FolderSettings

if TYPE_CHECKING:
    import pyarrow


EMPTY = "empty image files"
SAVED = ("dataset_info.json", "dataset_dict.json")
"""Files of which a data set has one that `save_to_disk` wrote."""
OTHERS = {".tar": "tars", ".parquet": "parquet"}
"""Sources, by the extension of their files."""


class Folder(Source[FolderSettings]):
    """Images found by their extension, in the order of their paths."""

    @property
    def where(self) -> str:
        return self.settings.folder

    @cached_property
    def _listing(self) -> "Listing":
        results = Path("results").resolve()
        if results.is_dir() and results.is_relative_to(Path(self.where).resolve()):
            raise UserError(
                f"the folder {self.where} contains {results}, so the workflow's own images would "
                f"count as yours: move your images into a separate folder"
            )
        return list_folder(self.where, skip=self.settings.on_bad_image == "skip")

    holder = "key"

    def files(self) -> SourceFiles:
        one = self._listing
        return SourceFiles(one.keys, one.sizes, one.times, one.inodes)

    def tables(self) -> Iterator["pyarrow.Table"]:
        import pyarrow as pa

        schema = pa.schema([("key", pa.string()), ("bytes", pa.int64())])
        keys, sizes = self._listing.keys, self._listing.sizes
        for start in range(0, len(keys), GROUP_ROWS):
            part = slice(start, start + GROUP_ROWS)
            yield pa.table([keys[part], sizes[part]], schema)

    def notes(self) -> dict[str, Any]:
        return {IGNORED: self._listing.ignored}

    def read(self, entry: Entry) -> bytes:
        return read_regular(Path(self.where, entry.key))


@dataclass(frozen=True)
class Listing:
    """The images under a folder, in row order."""

    keys: list[str]
    """Paths relative to the folder, with ``/``, sorted by code point."""
    sizes: list[int]
    """Bytes of each file."""
    times: list[int]
    """When each was last changed, in ns."""
    inodes: list[int]
    ignored: dict[str, int] = field(default_factory=dict)
    """Number of what was passed over, by extension or kind."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over one line ``path NUL size`` per image, 64 hex digits."""
        return names_and_sizes(zip(self.keys, self.sizes, strict=True))


def list_folder(folder: str | Path, skip: bool = False) -> Listing:
    """List the images of ``folder`` and its subfolders.

    Passes over hidden files and folders, and counts them. Follows links, but lists each folder and
    each linked file once: where it lies, if that is in ``folder``, or else by the first link to it.

    Args:
        folder: the folder.
        skip: leave out, and count, images of formats that saev can't read, broken links and folders
            that can't be opened.

    Raises:
        UserError: the folder doesn't exist, has no images, or names that aren't UTF-8. Without
            ``skip``: it has images of formats that saev can't read, broken links, folders that
            can't be opened, or empty image files.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "doesn't exist"
        raise UserError(f"the folder of images {folder} {what}")
    found: list[FoundFile] = []
    foreign: dict[str, list[str]] = {}
    walk = Walk(str(folder))
    ignored: Counter[str] = Counter()
    for file in walk.files():
        key = file[0]
        extension = extension_of(key)
        if extension in EXTENSIONS:
            found.append(file)
        elif extension in FOREIGN:
            foreign.setdefault(FOREIGN[extension], []).append(key)
        else:
            ignored[kind_of(extension)] += 1
    if skip:
        ignored.update({kind: len(keys) for kind, keys in foreign.items()})
    else:
        _refuse(folder, foreign)
    _refuse_odd_names(folder, found)
    if not skip:
        empty = [str(folder / key) for key, size, *_ in found if not size]
        _refuse_bad(folder, {BROKEN_LINK: walk.broken, CLOSED: walk.closed, EMPTY: empty})
    walk.passed_over.update({BROKEN_LINK: len(walk.broken), CLOSED: len(walk.closed)})
    ignored.update(+walk.passed_over)
    if not found:
        kinds = passed_over({IGNORED: dict(ignored.most_common())})
        source = kind_of_folder(folder)
        raise UserError(
            f"there is no image in {folder}"
            + (f"; it holds {kinds}" if kinds else "; it is empty")
            + ". Images are found by extension: .jpg, .png, .webp, .tif and the like"
            + (f". Instead of folder, write {source}: {folder}" if source != "folder" else "")
        )
    found.sort()
    keys, sizes, times, inodes = (list(column) for column in zip(*found, strict=True))
    return Listing(keys, sizes, times, inodes, dict(ignored.most_common()))


def kind_of_folder(folder: Path) -> str:
    """The source that reads what a folder holds: ``folder`` if images or nothing known lie there,
    else ``saved``, ``tars`` or ``parquet``."""
    if any((folder / name).is_file() for name in SAVED):
        return "saved"
    found = set()
    for key, *_ in Walk(str(folder)).files():
        extension = extension_of(key)
        if extension in EXTENSIONS:
            return "folder"
        found.add(extension)
    return next((name for extension, name in OTHERS.items() if extension in found), "folder")


def _refuse_bad(folder: Path, bad: dict[str, list[str]]) -> None:
    """Name all that ``on_bad_image: skip`` would leave out."""
    parts = [
        listed(sorted(map(printable, paths)), f"{folder} holds {kind} ({len(paths):,}):")
        for kind, paths in bad.items()
        if paths
    ]
    if parts:
        raise UserError(
            "\n".join(parts)
            + "\nFix or remove them, or skip them: set on_bad_image of these images to skip."
        )


def _refuse(folder: Path, foreign: dict[str, list[str]]) -> None:
    if not foreign:
        return
    problems = [
        f"{name}: {len(keys):,}, such as {printable(min(keys))}" for name, keys in foreign.items()
    ]
    raise UserError(
        listed(sorted(problems), f"{folder} holds images in formats that saev can't read:")
        + "\nConvert them to PNG, TIFF or JPEG, or move them out of the folder, or skip them: set "
        "on_bad_image of these images to skip."
    )


def _refuse_odd_names(folder: Path, found: list[FoundFile]) -> None:
    odd = []
    for key, *_ in found:
        try:
            key.encode()
        except UnicodeEncodeError:
            odd.append(ascii(key))
    if odd:
        raise UserError(listed(odd, f"{folder} has file names that aren't UTF-8; rename them:"))
