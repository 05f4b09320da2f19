"""Artifact of the `images` stage: the manifest, which gives each picture its row.

``manifest.parquet`` has the columns ``row`` (int64, counting from 0, in order), ``key`` (text; a folder's
path relative to it, with ``/``), ``bytes`` (int64, null where the source doesn't tell), for tars ``file`` (text)
and ``offset`` (int64), and the source's own columns as ``source.<name>``.
"""

import json
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from saev.artifacts.meta import META, read_meta
from saev.errors import UserError
from saev.files import atomic_path
from saev.settings.images import ImagesSettings

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

    from saev.sources.base import Source

MANIFEST = "manifest.parquet"
STAGE = "images"
GROUP_ROWS = 65_536
"""Rows in a row group: what is read for a range of a few rows."""


SOURCE = "source."
"""Start of the names of the columns that the source brings."""
FINGERPRINT = "saev.fingerprint"


class Entry(NamedTuple):
    """One picture of the manifest."""

    row: int
    """Its row id: the position in the listing."""
    key: str
    """What it is called: in a folder, its path relative to it, with ``/``."""
    bytes: int | None
    """Its size when it was listed, if the source tells."""
    file: str | None = None
    """Which file it lies in, if that holds several."""
    offset: int | None = None
    """Where in that file it begins."""


class ManifestSummary(NamedTuple):
    """What a manifest says of all its rows."""

    n_images: int
    bytes: int | None
    """Of all pictures, None if that of one isn't known."""
    fingerprint: str
    """Of the source that it lists."""


def write_manifest(path: str | Path, source: "Source", fingerprint: str) -> None:
    """Number the pictures of ``source`` and write them, in groups of `GROUP_ROWS`.

    Args:
        path: the file; source: what is listed; fingerprint: kept in the file.

    Raises:
        UserError: there are none, or something in the source can't be used.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer: pq.ParquetWriter | None = None
    n = 0
    with atomic_path(path) as temporary:
        try:
            for table in _regrouped(source.tables()):
                rows = pa.array(range(n, n + len(table)), pa.int64())
                table = table.add_column(0, "row", rows)
                n += len(table)
                if writer is None:
                    schema = table.schema.with_metadata({FINGERPRINT: fingerprint})
                    writer = pq.ParquetWriter(temporary, schema)
                writer.write_table(table.cast(schema), row_group_size=GROUP_ROWS)
        finally:
            if writer is not None:
                writer.close()
        if writer is None:
            raise UserError(f"{source.where} holds no picture")


def _regrouped(tables: Iterable["pyarrow.Table"]) -> Iterator["pyarrow.Table"]:
    import pyarrow as pa

    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        while sum(map(len, held)) >= GROUP_ROWS:
            whole = pa.concat_tables(held)
            yield whole.slice(0, GROUP_ROWS)
            held = [whole.slice(GROUP_ROWS)]
    if sum(map(len, held)):
        yield pa.concat_tables(held)


def manifest_summary(path: str | Path) -> ManifestSummary:
    """Read what a manifest says of itself.

    Raises:
        UserError: it is missing or unreadable.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            metadata = file.schema_arrow.metadata or {}
            sizes = file.read(columns=["bytes"]).column("bytes")
            n = file.metadata.num_rows
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(
            f"can't read the listing {path} ({error}): start the workflow again, which writes it"
        ) from error
    total = None if sizes.null_count else pc.sum(sizes).as_py()
    return ManifestSummary(n, total, metadata.get(FINGERPRINT.encode(), b"").decode())


class Images:
    """Reader of `results/{images}`.

    Args:
        path: the directory of the images.

    Raises:
        UserError: there is no complete manifest.
    """

    def __init__(self, path: str | Path) -> None:
        import pyarrow
        import pyarrow.parquet

        self.path = Path(path)
        self.meta, self.digest = read_meta(self.path, STAGE)
        self.settings: dict[str, Any] = self.meta["settings"]
        self.n_images: int = self.meta["summary"]["n_images"]
        manifest = self.path / MANIFEST
        try:
            self._file = pyarrow.parquet.ParquetFile(manifest)
        except (OSError, pyarrow.ArrowInvalid) as error:
            raise UserError(
                f"can't read {manifest} ({error}): remove {self.path / META} and run again"
            ) from error
        if self._file.metadata.num_rows != self.n_images:
            raise UserError(
                f"{manifest} has {self._file.metadata.num_rows:,} rows, not {self.n_images:,}: it was "
                f"altered. Remove {self.path / META} and run again"
            )
        names = self._file.schema_arrow.names
        self._columns = [name for name in Entry._fields if name in names]

    @cached_property
    def source(self) -> "Source":
        """Where the pictures lie."""
        from saev.sources import open_source

        given = {k: v for k, v in self.settings.items() if k != "fingerprint"}
        return open_source(ImagesSettings.model_validate_json(json.dumps(given)))

    def read(self, start: int, stop: int) -> list[Entry]:
        """Read the entries of the rows ``start`` to ``stop`` (excluded), without the rest."""
        stop = min(stop, self.n_images)
        if not 0 <= start < stop:
            return []
        groups = range(start // GROUP_ROWS, (stop - 1) // GROUP_ROWS + 1)
        table: pyarrow.Table = self._file.read_row_groups(list(groups), columns=self._columns)
        table = table.slice(start - groups[0] * GROUP_ROWS, stop - start)
        columns = (table.column(name).to_pylist() for name in self._columns)
        return [
            Entry(**dict(zip(self._columns, values, strict=True)))
            for values in zip(*columns, strict=True)
        ]

    def entries(self, rows: Iterable[int]) -> list[Entry]:
        """Entries of single rows (ascending), one piece of the manifest at a time."""
        found: list[Entry] = []
        piece: list[Entry] = []
        for row in rows:
            if not piece or not piece[0].row <= row < piece[0].row + GROUP_ROWS:
                first = row // GROUP_ROWS * GROUP_ROWS
                piece = self.read(first, first + GROUP_ROWS)
            found.append(piece[row - piece[0].row])
        return found
