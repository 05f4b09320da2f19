"""WebDataset tars. Files next to each other that share a name up to its first dot form a sample.

The headers are read once. After that, saev reads each image directly from its position in the tar.
Texts of a sample (``id.sci.txt``, ``id.cls``, the values of ``id.json``) become columns of the
source (``sci``, ``cls``, the names in the JSON).
"""

import errno
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from saev.core import logs
from saev.core.errors import UserError
from saev.core.progress import Progress
from saev.core.system_errors import filling
from saev.images.sources.find import find_files
from saev.images.sources.formats import EXTENSIONS, FOREIGN
from saev.images.sources.source import (
    IGNORED,
    SOURCE,
    WITHOUT_IMAGE,
    Entry,
    Source,
    SourceFiles,
    open_regular,
    stated,
)
from saev.images.sources.tar_samples import Member, require_plain, samples_of
from saev.images.sources.tar_texts import texts_of
from saev.settings.images import TarsSettings

if TYPE_CHECKING:
    import pyarrow


HIDDEN_INSIDE = "hidden files in tars"
"""What files whose names begin with a dot are counted under."""


class Tars(Source[TarsSettings]):
    """Images in tars, ordered by the name of the tar, then by their order in it."""

    def __init__(self, settings: TarsSettings) -> None:
        super().__init__(settings)
        self.without_image: int | None = None
        self.hidden = 0

    @property
    def where(self) -> str:
        return self.settings.tars

    def _files(self) -> tuple[Path, list[str]]:
        return find_files("tars", self.where, ".tar")[:2]

    holder = "file"

    def files(self) -> SourceFiles:
        base, names = self._files()
        for name in names:
            require_plain(base / name)
        return stated(base, names)

    def tables(self) -> Iterator["pyarrow.Table"]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.without_image = self.hidden = 0
        base, names = self._files()
        progress = Progress(len(names), "tars", f"indexing {self.where}")
        # The columns are known only after the last tar. Until then the parts wait on disk.
        with tempfile.TemporaryDirectory() as folder:
            parts: list[Path] = []
            columns: dict[str, None] = {}
            contradictions: dict[str, str] = {}
            n_images, wanted = 0, self.settings.image
            for number, name in enumerate(names):
                require_plain(base / name)
                part = Path(folder, f"{number:06}.parquet")
                table, without, hidden, found = index(base / name, name, wanted)
                self.without_image += without
                self.hidden += hidden
                contradictions = found | contradictions
                columns |= dict.fromkeys(table.column_names)
                with filling(folder):
                    pq.write_table(table, part)
                parts.append(part)
                n_images += len(table)
                progress.update(1)
            if not n_images:
                ending = f" that ends in .{wanted.lstrip('.')}" if wanted else ""
                raise UserError(
                    f"tars: {self.where} holds no image{ending}, only {self.without_image:,} "
                    f"samples without one. Names are cut at the first dot: plot_0.1_cam.png is "
                    f"1_cam.png of the sample plot_0"
                )
            for column, said in contradictions.items():
                logs.say(f"{self.where}: {column.removeprefix(SOURCE)!r} can't be a label: {said}")
                columns.pop(column, None)
            own = {"bytes": pa.int64(), "offset": pa.int64()}
            first = ("key", "bytes", "file", "offset")
            order = [*first, *sorted(set(columns) - set(first))]
            schema = pa.schema([(name, own.get(name, pa.string())) for name in order])
            for part in parts:
                with pq.ParquetFile(part) as file:
                    for batch in file.iter_batches():
                        table = pa.Table.from_batches([batch]).drop_columns(
                            [name for name in contradictions if name in batch.schema.names]
                        )
                        yield pa.concat_tables(
                            [schema.empty_table(), table], promote_options="default"
                        )

    def notes(self) -> dict[str, Any]:
        if self.without_image is None:
            return {}
        ignored = find_files("tars", self.where, ".tar").ignored
        if self.hidden:
            ignored = {**ignored, HIDDEN_INSIDE: self.hidden}
        return {WITHOUT_IMAGE: self.without_image} | ({IGNORED: ignored} if ignored else {})

    def read(self, entry: Entry) -> bytes:
        size, offset = entry.bytes, entry.offset
        if size is None or offset is None or entry.file is None:
            raise OSError(errno.ENODATA, "the listing doesn't say where it lies")
        with open_regular(self._base / entry.file) as file:
            file.seek(offset)
            data = file.read(size)
        if len(data) != size:
            raise OSError(errno.EIO, f"{entry.file} ends before it")
        return data

    @cached_property
    def _base(self) -> Path:
        return self._files()[0]


class Index(NamedTuple):
    """The images of one tar."""

    table: "pyarrow.Table"
    """``key``, ``bytes``, ``file``, ``offset`` and ``source.<name>``, with one row per image."""
    without_image: int
    """How many samples have no image."""
    n_hidden: int
    """How many files have names that begin with a dot."""
    contradictions: dict[str, str]
    """What files say that contradict each other, by column."""


def index(path: Path, name: str, wanted: str | None) -> Index:
    """Find the images of one tar.

    Args:
        path: the tar.
        name: its name in keys.
        wanted: extension of the images, if samples hold several.

    Raises:
        UserError: the tar is damaged, or has members that can't be used.
    """
    import pyarrow as pa

    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    without = 0
    contradictions: dict[str, str] = {}
    hidden: list[str] = []
    for sample, members in samples_of(path, hidden):
        if sample in seen:
            raise UserError(
                f"tars: {path}: the files of {sample} aren't next to each other, or two samples "
                f"have that name: pack the tar again, sorted by name (tar --sort=name)"
            )
        seen.add(sample)
        image = _image(path, sample, members, wanted)
        if image is None:
            without += 1
            continue
        texts = texts_of(path, [(m.info.name, m.extension, m.data) for m in members])
        contradictions = texts.contradictions | contradictions
        rows.append(
            {
                "key": f"{name}/{image.info.name}",
                "bytes": image.info.size,
                "file": name,
                "offset": image.info.offset_data,
            }
            | texts.columns
        )
    names = dict.fromkeys(key for row in rows for key in row)
    table = pa.table({key: [row.get(key) for row in rows] for key in names})
    return Index(table, without, len(hidden), contradictions)


def _image(path: Path, sample: str, members: list[Member], wanted: str | None) -> Member | None:
    if wanted is not None:
        found = [m for m in members if m.extension == wanted.lower().lstrip(".")]
    else:
        found = [m for m in members if f".{m.kind}" in EXTENSIONS]
    foreign = [m for m in members if f".{m.kind}" in FOREIGN]
    if not found and foreign:
        raise UserError(
            f"tars: {path}: {foreign[0].info.name} is {FOREIGN['.' + foreign[0].kind]}, which "
            f"can't be read: convert it"
        )
    if len(found) > 1:
        raise UserError(
            f"tars: {path}: the sample {sample} has several images "
            f"({', '.join(m.extension for m in found)}): set `image` to the extension of one. "
            f"Names are cut at the first dot: rename files of different samples that agree up to "
            f"there"
        )
    return found[0] if found else None
