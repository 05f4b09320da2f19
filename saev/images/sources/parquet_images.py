"""Which images of parquet files lie outside of the files. Reads no image that lies inside."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow
import pyarrow.compute as pc
import pyarrow.parquet

from saev.core.errors import UserError
from saev.images.sources.source import GROUP_ROWS

AT_ONCE = 1 << 25
"""Bytes of images to hold at once where some may lie outside of the file."""
BUFFER = 1 << 20
"""Bytes of a column to read at once; without a limit, all of a group of rows are."""


class ParquetImages(NamedTuple):
    """The column of images of parquet files."""

    base: Path
    """The folder of the files."""
    names: list[str]
    """Names of the files."""
    kinds: list[pyarrow.DataType]
    """Type of the column in each file."""
    column: str
    """Its name."""

    def paths(self, name: str) -> Iterator[str]:
        """Paths that a file has for its images, if some of these may lie outside of it."""
        kind = self.kinds[self.names.index(name)]
        path = f"{self.column}.path" if pyarrow.types.is_struct(kind) else self.column
        with reading(self.base / name) as file:
            if self._may_lie_outside(kind, file, range(file.num_row_groups)):
                for batch in file.iter_batches(columns=[path]):
                    texts = batch.column(0)
                    if pyarrow.types.is_struct(texts.type):
                        texts = texts.field(0)
                    yield from (text for text in texts.to_pylist() if text is not None)

    def outside(self) -> Iterator[tuple[int, str]]:
        """Rows, over all files, of images that lie outside of the files, and their paths.

        A row without any image isn't among them.
        """
        row = 0
        for name, kind in zip(self.names, self.kinds, strict=True):
            with reading(self.base / name) as file:
                for group in range(file.num_row_groups):
                    about = file.metadata.row_group(group)
                    if self._may_lie_outside(kind, file, [group]):
                        # Few rows at once: there may be images among them.
                        size = max(1, AT_ONCE * about.num_rows // max(1, about.total_byte_size))
                        start = row
                        for batch in file.iter_batches(
                            min(size, GROUP_ROWS), row_groups=[group], columns=[self.column]
                        ):
                            yield from _paths(batch.column(0), start)
                            start += batch.num_rows
                    row += about.num_rows

    def can_look(self) -> bool:
        """Whether `outside` knows the types of all files. `datasets` takes, or refuses, others."""
        return all(map(_is_known, self.kinds))

    def _may_lie_outside(
        self, kind: pyarrow.DataType, file: pyarrow.parquet.ParquetFile, groups: Iterable[int]
    ) -> bool:
        """Whether images of some groups of rows can lie outside of the file."""
        leaves = [file.schema.column(i).path for i in range(len(file.schema))]
        if not pyarrow.types.is_struct(kind):
            return self.column in leaves and not is_bytes(kind)
        if f"{self.column}.path" not in leaves:
            return False
        return not _all_there(file.metadata, leaves, f"{self.column}.bytes", groups)


@contextmanager
def reading(path: Path) -> Iterator[pyarrow.parquet.ParquetFile]:
    """Open a file, to read it piece by piece.

    Raises:
        UserError: it can't be read.
    """
    try:
        with pyarrow.parquet.ParquetFile(path, buffer_size=BUFFER) as file:
            yield file
    except MemoryError:
        raise
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(
            f"parquet: {path} can't be read: {error}. It is damaged or isn't a parquet file"
        ) from error


def is_bytes(kind: pyarrow.DataType) -> bool:
    """Whether a column holds bytes."""
    types = pyarrow.types
    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)


def _is_known(kind: pyarrow.DataType) -> bool:
    """Whether a type is one in which images are nearly always written."""
    types = pyarrow.types
    held, texts = (types.is_binary, types.is_large_binary), (types.is_string, types.is_large_string)
    if not types.is_struct(kind):
        return any(fits(kind) for fits in held + texts)
    allowed = {"bytes": (*held, types.is_null), "path": (*texts, types.is_null)}
    return all(any(fits(field.type) for fits in allowed.get(field.name, ())) for field in kind)


def _paths(images: pyarrow.Array, start: int) -> Iterator[tuple[int, str]]:
    """Rows and paths of those images that have a path and no bytes."""
    paths = images
    if pyarrow.types.is_struct(images.type):
        paths = pc.struct_field(images, "path")
        if images.type.get_field_index("bytes") >= 0:
            paths = pc.if_else(pc.is_null(pc.struct_field(images, "bytes")), paths, None)
    for i in np.flatnonzero(paths.is_valid().to_numpy(zero_copy_only=False)).tolist():
        yield start + i, paths[i].as_py()


def _all_there(metadata: Any, leaves: list[str], column: str, groups: Iterable[int]) -> bool:
    """Whether a column has a value in each row of some groups, by the statistics of the file."""
    if column not in leaves:
        return False
    at = leaves.index(column)
    found = (metadata.row_group(i).column(at).statistics for i in groups)
    return all(about is not None and about.null_count == 0 for about in found)
