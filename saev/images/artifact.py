"""Artifact of the `images` stage: the manifest, which gives each image its row.

``manifest.parquet`` has the columns ``row`` (int64, from 0, in order), ``key`` (text; in a folder,
the path relative to it, with ``/``), ``bytes`` (int64, null where the source doesn't know it), for
tars ``file`` (text) and ``offset`` (int64), for parquet files ``file``, and the source's own
columns as ``source.<name>``, as they were when the images were listed.
"""

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from saev.core.errors import UserError
from saev.core.files import atomic_path, read_json, sha256_file, write_bytes
from saev.core.meta import META, RUN, read_meta, require_unaltered
from saev.core.spec import parsed
from saev.images.sources import open_source
from saev.images.sources.source import GROUP_ROWS, Entry, Source
from saev.settings.images import SOURCE_SETTINGS, AnyImagesSettings, ImagesSettings

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

MANIFEST = "manifest.parquet"
VOUCHED = ".sha256"
"""Extension of the file with the SHA-256 of a listing in `.plans`."""
STAGE = "images"
PLACE = "source"
"""Key of `run.json` under which it says where the images lie."""
FINGERPRINT = "saev.fingerprint"


class ManifestSummary(NamedTuple):
    """What a manifest says about all its rows."""

    n_images: int
    bytes: int | None
    """Total size of all images; None if one is unknown."""
    fingerprint: str
    """Fingerprint of the source that it lists."""


def write_manifest(path: str | Path, fingerprint: str, source: Source[Any]) -> None:
    """Number the images of ``source`` and write them, in groups of `GROUP_ROWS`.

    Args:
        path: the file to write.
        fingerprint: fingerprint of the source, kept in the file.
        source: the source to list.

    Raises:
        UserError: there are no images, or something in the source can't be used.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer: pq.ParquetWriter | None = None
    n = 0
    with atomic_path(path) as temporary:
        try:
            for table in _regrouped(source.tables()):
                rows = pa.array(np.arange(n, n + len(table), dtype=np.int64))
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
            raise UserError(f"{source.where} holds no image")


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
    """Read the summary of a manifest.

    Raises:
        UserError: it is missing or unreadable.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            metadata = file.schema_arrow.metadata or {}
            n = file.metadata.num_rows
            total = _sum(batch.column(0) for batch in file.iter_batches(columns=["bytes"]))
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(
            f"can't read the listing {path} ({error}): start the workflow, which "
            f"lists the images again"
        ) from error
    return ManifestSummary(n, total, metadata.get(FINGERPRINT.encode(), b"").decode())


def vouch(listing: Path) -> None:
    """Write the SHA-256 of a listing beside it, for `require_vouched`."""
    write_bytes(listing.with_suffix(VOUCHED), f"{sha256_file(listing)}\n".encode())


def require_vouched(listing: Path) -> None:
    """Check that a listing is as it was written. One without a SHA-256 beside it passes.

    Raises:
        UserError: it isn't.
    """
    kept = listing.with_suffix(VOUCHED)
    sha256 = f"{sha256_file(listing)}\n".encode()
    if kept.is_file() and kept.read_bytes() != sha256:
        raise UserError(
            f"{listing} was altered after it was written: start the workflow again, which lists "
            f"the images anew"
        )


def _sum(pieces: Iterator["pyarrow.Array"]) -> int | None:
    """The sum of whole numbers; None if one is missing."""
    import pyarrow.compute as pc

    total = 0
    for piece in pieces:
        if piece.null_count:
            return None
        total += pc.sum(piece, min_count=0).as_py()
    return total


def settings_of(path: Path, told: dict[str, Any]) -> dict[str, Any]:
    """Settings of images, with the place where they lie.

    Args:
        path: the directory of the images.
        told: the settings in its `meta.json`. If the images were listed at the start of a run,
            these have a fingerprint in place of the path, and `run.json` has the path. The first
            versions of saev wrote both into `meta.json`.

    Raises:
        UserError: `run.json` is missing or doesn't say where the images lie.
    """
    given = {name: value for name, value in told.items() if name != "fingerprint"}
    if given == told or not given.keys().isdisjoint(SOURCE_SETTINGS):
        return given
    lies = read_json(path / RUN).get(PLACE)
    if not isinstance(lies, dict):
        raise UserError(f"{path / RUN} doesn't say where the images lie: run the workflow again")
    return {**lies, **given}


class Images:
    """Reader of `results/{images}`.

    Args:
        path: the directory of the images.

    Raises:
        UserError: the manifest is incomplete or was altered.
    """

    def __init__(self, path: str | Path) -> None:
        import pyarrow
        import pyarrow.parquet

        self.path = Path(path)
        self.meta, self.digest = read_meta(self.path, STAGE)
        self.settings: ImagesSettings = parsed(
            AnyImagesSettings, settings_of(self.path, self.meta["settings"])
        )
        self.n_images: int = self.meta["summary"]["n_images"]
        require_unaltered(self.path, self.meta["files"])
        manifest = self.path / MANIFEST
        try:
            self._file = pyarrow.parquet.ParquetFile(manifest)
        except (OSError, pyarrow.ArrowInvalid) as error:
            raise UserError(
                f"can't read {manifest} ({error}): remove {self.path / META} and run again"
            ) from error
        if self._file.metadata.num_rows != self.n_images:
            raise UserError(
                f"{manifest} has {self._file.metadata.num_rows:,} rows, not {self.n_images:,}: it "
                f"was altered. Remove {self.path / META} and run again"
            )
        names = self._file.schema_arrow.names
        self._columns = [name for name in Entry._fields if name in names]

    @cached_property
    def source(self) -> Source[Any]:
        """The source of the images."""
        return open_source(self.settings)

    def read(self, start: int, stop: int) -> list[Entry]:
        """Read the entries of rows ``start`` to ``stop`` (excluded), and no others."""
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
        """Entries of single rows, given in ascending order. Reads the manifest in pieces."""
        found: list[Entry] = []
        piece: list[Entry] = []
        for row in rows:
            if not piece or not piece[0].row <= row < piece[0].row + GROUP_ROWS:
                first = row // GROUP_ROWS * GROUP_ROWS
                piece = self.read(first, first + GROUP_ROWS)
            found.append(piece[row - piece[0].row])
        return found
