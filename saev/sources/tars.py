"""WebDataset tars: samples of files that share a name up to its first dot, next to each other.

The headers are read once; from then on each picture is one read at a known place of its tar. Texts of a
sample (``id.sci.txt``, ``id.cls``, the values of ``id.json``) become columns of the source (``sci``,
``cls``, the names in the JSON).
"""

import errno
import json
import tarfile
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from saev import logs
from saev.artifacts.images import SOURCE, Entry
from saev.errors import UserError
from saev.progress import Progress
from saev.sources.base import Source, find_files, names_and_sizes
from saev.sources.formats import EXTENSIONS, FOREIGN

if TYPE_CHECKING:
    import pyarrow

COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"\x28\xb5": "zstd"}
TEXTS = ("txt", "cls", "json")
TEXT_BYTES = 1 << 16
"""A longer text is no label, and is passed over."""


class Tars(Source):
    """Pictures in tars, in the order of the tars' names, then as they lie in them."""

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.without_image = 0

    @property
    def where(self) -> str:
        return str(self.settings.tars)

    def _files(self) -> tuple[Path, list[str]]:
        return find_files("tars", self.where, ".tar")

    def fingerprint(self) -> str:
        base, names = self._files()
        for name in names:
            _require_plain(base / name)
        return names_and_sizes((name, (base / name).stat().st_size) for name in names)

    def tables(self) -> Iterator["pyarrow.Table"]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        base, names = self._files()
        wanted = self.settings.image if "image" in self.settings.model_fields_set else None
        progress = Progress(len(names), "tars", f"indexing {self.where}")
        # Which columns there are is known only after the last tar: the parts wait on disk for that.
        with tempfile.TemporaryDirectory() as folder:
            parts: list[Path] = []
            columns: dict[str, None] = {}
            for number, name in enumerate(names):
                _require_plain(base / name)
                part = Path(folder, f"{number:06}.parquet")
                table, without = index(base / name, name, wanted)
                self.without_image += without
                columns |= dict.fromkeys(table.column_names)
                pq.write_table(table, part)
                parts.append(part)
                progress.update(1)
            own = {"bytes": pa.int64(), "offset": pa.int64()}
            first = ("key", "bytes", "file", "offset")
            order = [*first, *sorted(set(columns) - set(first))]
            schema = pa.schema([(name, own.get(name, pa.string())) for name in order])
            for part in parts:
                with pq.ParquetFile(part) as file:
                    for batch in file.iter_batches():
                        yield pa.concat_tables(
                            [schema.empty_table(), pa.Table.from_batches([batch])],
                            promote_options="default",
                        )
        if self.without_image:
            logs.say(f"{self.where}: {self.without_image:,} samples have no picture; left out")

    def notes(self) -> dict[str, Any]:
        return {"samples_without_image": self.without_image}

    def read(self, entry: Entry) -> bytes:
        size, offset = entry.bytes, entry.offset
        if size is None or offset is None or entry.file is None:
            raise OSError(errno.ENODATA, "the listing doesn't say where it lies")
        with (self._base / entry.file).open("rb") as file:
            file.seek(offset)
            data = file.read(size)
        if len(data) != size:
            raise OSError(errno.EIO, f"{entry.file} ends before it")
        return data

    @cached_property
    def _base(self) -> Path:
        return self._files()[0]


def _require_plain(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(2)
    if start in COMPRESSED:
        raise UserError(
            f"tars: {path} is compressed ({COMPRESSED[start]}): nothing in it can be read without all "
            f"before it. Unpack it to a plain .tar (pictures don't get smaller by it)"
        )


def index(path: Path, name: str, wanted: str | None) -> tuple["pyarrow.Table", int]:
    """Find the pictures of one tar.

    Args:
        path: the tar; name: what it is called in keys.
        wanted: extension of the pictures, if samples hold several.

    Returns:
        A table of ``key``, ``bytes``, ``file``, ``offset`` and ``source.<name>``, a row a picture; and
        how many samples have none.

    Raises:
        UserError: the tar is damaged, or has members that can't be used.
    """
    import pyarrow as pa

    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    without = 0
    for sample, members in _samples(path):
        if sample in seen:
            raise UserError(
                f"tars: {path}: the files of {sample} don't lie next to each other, or there are two "
                f"samples of that name: pack it again, sorted by name"
            )
        seen.add(sample)
        picture = _picture(path, sample, members, wanted)
        if picture is None:
            without += 1
            continue
        texts = {SOURCE + key: text for m in members for key, text in _texts(path, m).items()}
        rows.append(
            {
                "key": f"{name}/{picture.info.name}",
                "bytes": picture.info.size,
                "file": name,
                "offset": picture.info.offset_data,
            }
            | texts
        )
    names = dict.fromkeys(key for row in rows for key in row)
    return pa.table({key: [row.get(key) for row in rows] for key in names}), without


class _Member(NamedTuple):
    info: tarfile.TarInfo
    extension: str
    """All after the first dot, in lower case."""
    data: bytes | None
    """Content of a short text."""

    @property
    def kind(self) -> str:
        """The last part of the extension."""
        return self.extension.rpartition(".")[2]


def _samples(path: Path) -> Iterator[tuple[str, list[_Member]]]:
    """Yield each sample's name and members."""
    name = ""
    members: list[_Member] = []
    size = path.stat().st_size
    try:
        with tarfile.open(path, "r:") as tar:
            for info in tar:
                folder, _, file = info.name.rpartition("/")
                if info.isdir() or file.startswith("."):
                    continue
                if not info.isreg() or info.issparse():
                    raise UserError(
                        f"tars: {path}: {info.name} is a link or a special file: pack plain files"
                    )
                if info.offset_data + info.size > size:
                    raise UserError(f"tars: {path} ends within {info.name}: it is cut off")
                stem, _, extension = file.partition(".")
                here = f"{folder}/{stem}" if folder else stem
                if here != name and members:
                    yield name, members
                    members = []
                name = here
                member = _Member(info, extension.lower(), None)
                if member.kind in TEXTS and info.size <= TEXT_BYTES:
                    content = tar.extractfile(info)
                    member = member._replace(data=content.read() if content else b"")
                members.append(member)
    except tarfile.TarError as error:
        raise UserError(f"tars: {path} can't be read: {error}. It is damaged or no tar") from error
    if members:
        yield name, members


def _picture(path: Path, sample: str, members: list[_Member], wanted: str | None) -> _Member | None:
    if wanted is not None:
        found = [m for m in members if m.extension == wanted.lower().lstrip(".")]
    else:
        found = [m for m in members if f".{m.kind}" in EXTENSIONS]
    foreign = [m for m in members if f".{m.kind}" in FOREIGN]
    if not found and foreign:
        raise UserError(
            f"tars: {path}: {foreign[0].info.name} is {FOREIGN['.' + foreign[0].kind]}, which can't be "
            f"read: convert it"
        )
    if len(found) > 1:
        raise UserError(
            f"tars: {path}: the sample {sample} has several pictures "
            f"({', '.join(m.extension for m in found)}): name the extension of one in `image`"
        )
    return found[0] if found else None


def _texts(path: Path, member: _Member) -> dict[str, str]:
    """Labels that a member holds, by name."""
    if member.data is None:
        return {}
    try:
        text = member.data.decode()
        if member.kind != "json":
            return {member.extension.removesuffix(".txt"): text.strip()}
        values = json.loads(text)
    except ValueError as error:
        raise UserError(
            f"tars: {path}: {member.info.name} is no {member.kind} in UTF-8: {error}"
        ) from error
    if not isinstance(values, dict):
        return {}
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
        if isinstance(value, (str, int, float))
    }
