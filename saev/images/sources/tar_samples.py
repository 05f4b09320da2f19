"""Samples of a tar: the members that lie next to each other and share a name up to its first dot.

A tar that is compressed, damaged, cut off or holds what can't be read from its position is refused.
"""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from saev.core.errors import UserError
from saev.images.sources.tar_texts import TEXT_BYTES, TEXTS, kind_of

COMPRESSED = {
    b"\x1f\x8b\x08": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"PK\x03\x04": "zip",
}
"""First bytes of compressed files. A plain tar starts with the name of its first file."""


def require_plain(path: Path) -> None:
    """Raise a `UserError` if a tar is compressed."""
    with path.open("rb") as file:
        start = file.read(tarfile.BLOCKSIZE)
    found = [kind for first_bytes, kind in COMPRESSED.items() if start.startswith(first_bytes)]
    if found and start[257:262] != b"ustar":
        raise UserError(
            f"tars: {path} is compressed ({found[0]}), so single images can't be read "
            f"from it. Unpack it to a plain .tar (compression doesn't make images smaller)"
        )


class Member(NamedTuple):
    """A file in a tar."""

    info: tarfile.TarInfo
    extension: str
    """Everything after the first dot, in lower case."""
    data: bytes | None
    """Content of a short text."""

    @property
    def kind(self) -> str:
        """The last part of the extension."""
        return kind_of(self.extension)


def samples_of(path: Path, hidden: list[str]) -> Iterator[tuple[str, list[Member]]]:
    """Yield each sample's name and members. Adds the names of hidden files to ``hidden``.

    Raises:
        UserError: the tar is damaged, or has members that can't be used.
    """
    name = ""
    members: list[Member] = []
    size = path.stat().st_size
    try:
        with tarfile.open(path, "r:") as tar:
            for info in tar:
                _require_utf8(path, info.name)
                folder, _, file = info.name.rpartition("/")
                if info.isdir():
                    continue
                if file.startswith("."):  # such as ._7.jpg, which macOS packs beside 7.jpg
                    hidden.append(info.name)
                    continue
                if not info.isreg() or info.issparse():
                    raise UserError(
                        f"tars: {path}: {info.name} is a link or a special file: pack plain files"
                    )
                if info.size < 0 or info.offset_data + info.size > size:
                    raise UserError(f"tars: {path} ends within {info.name}: it is cut off")
                stem, _, extension = file.partition(".")
                here = f"{folder}/{stem}" if folder else stem
                if here != name and members:
                    yield name, members
                    members = []
                name = here
                member = Member(info, extension.lower(), None)
                if member.kind in TEXTS and info.size <= TEXT_BYTES:
                    content = tar.extractfile(info)
                    member = member._replace(data=content.read() if content else b"")
                members.append(member)
            _require_end(path, tar.offset, name)
    except (tarfile.TarError, ValueError, OverflowError, EOFError) as error:
        raise UserError(
            f"tars: {path} can't be read: {error}. It is damaged or isn't a tar"
        ) from error
    if members:
        yield name, members


def _require_utf8(path: Path, name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"tars: {path}: the name {name!a} isn't in UTF-8: pack the tar again with such names"
        ) from error


def _require_end(path: Path, offset: int, last: str) -> None:
    """Refuse a tar that doesn't end where its reader stopped.

    The reader of the standard library takes a damaged header, but for the first, for the end.

    Args:
        path: the tar.
        offset: where the reader stopped.
        last: the last sample that it found.

    Raises:
        UserError: the two closing blocks of zeros are missing, or something follows them.
    """
    with path.open("rb") as file:
        file.seek(offset)
        closing = file.read(2 * tarfile.BLOCKSIZE)
        if len(closing) < 2 * tarfile.BLOCKSIZE and not any(closing):
            raise UserError(
                f"tars: {path} is cut off: it ends after {last} at byte {offset:,}, without the "
                f"closing blocks. Copy or pack it again"
            )
        if any(closing):
            raise UserError(
                f"tars: {path} is damaged: at byte {offset:,}, after {last}, there is no header of "
                f"a file. Copy or pack it again"
            )
        while data := file.read(1 << 20):
            if any(data):
                raise UserError(
                    f"tars: {path} goes on after its end at byte {offset:,}: pack the files of "
                    f"joined tars into one again, or keep the tars as separate files"
                )
