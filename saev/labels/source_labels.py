"""Labels that a source brings: columns of its listing, and corrections made after the listing.

The images' manifest keeps the columns of the day on which the images were listed, so that a
corrected label doesn't touch what was recorded. When a start of the workflow finds other labels in
the source, it keeps that column under `results/.plans/`, and its digest becomes part of the
analysis.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.compute
import pyarrow.parquet

from saev.core.errors import UserError
from saev.core.files import atomic_path
from saev.images.sources.source import SOURCE

COLUMN = "label"


def as_text(column: pyarrow.Array) -> pyarrow.Array:
    """A column as text; null where it says nothing: an empty or blank text, NaN, infinity."""
    if pyarrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pyarrow.types.is_floating(column.type):
        column = pyarrow.compute.if_else(pyarrow.compute.is_finite(column), column, None)
    column = column.cast(pyarrow.string())
    blank = pyarrow.compute.equal(pyarrow.compute.utf8_trim_whitespace(column), "")
    return pyarrow.compute.if_else(blank, None, column)


def as_labels(column: pyarrow.Array) -> pyarrow.Array:
    """A column as labels: its text, without the spaces around it that nobody sees."""
    return pyarrow.compute.utf8_trim_whitespace(as_text(column))


def brought(listing: Path) -> list[str]:
    """Names of the columns that a source brings, from its listing."""
    names = pyarrow.parquet.read_schema(listing).names
    return [name.removeprefix(SOURCE) for name in names if name.startswith(SOURCE)]


def require_brought(where: str, column: str, listing: Path) -> None:
    """Raise a UserError that lists the columns of a source if it doesn't bring the wanted one."""
    if column not in brought(listing):
        raise UserError(
            f"{where}: the images come without a column {column!r}. Their columns: "
            f"{', '.join(brought(listing)) or 'none'}"
        )


def correction(present: Path, then: Path, column: str, plans: Path) -> str | None:
    """Keep the labels of a column if they aren't those that the manifest has.

    Args:
        present: the listing of the source as it is now; it has the column.
        then: the manifest of the images.
        column: name of the column.
        plans: the folder to keep it in.

    Returns:
        SHA-256 of the labels; None if the manifest has the same.
    """
    now = _digest(_texts(present, SOURCE + column))
    if column in brought(then) and _digest(_texts(then, SOURCE + column)) == now:
        return None
    path = plans / f"{labels_name(now)}.parquet"
    if not _holds(path, now):
        schema = pyarrow.schema([(COLUMN, pyarrow.string())])
        with (
            atomic_path(path) as temporary,
            pyarrow.parquet.ParquetWriter(temporary, schema) as writer,
        ):
            for texts in _texts(present, SOURCE + column):
                writer.write_table(pyarrow.table([texts], schema=schema))
    return now


def corrected(where: str, sha256: str, plans: Path) -> pyarrow.ChunkedArray:
    """Labels kept by `correction`, by row.

    Raises:
        UserError: they are missing or were altered.
    """
    path = plans / f"{labels_name(sha256)}.parquet"
    if not _holds(path, sha256):
        raise UserError(f"{where}: {path} is missing or was altered: start the workflow again")
    return pyarrow.parquet.read_table(path).column(COLUMN)


def labels_digest(listing: Path, column: str) -> str | None:
    """SHA-256 of the labels in a listing's column; None if there is no such column."""
    return _digest(_texts(listing, SOURCE + column)) if column in brought(listing) else None


def labels_name(sha256: str) -> str:
    """Name, without extension, of the file that keeps labels."""
    return f"labels.{sha256[:16]}"


def _holds(path: Path, sha256: str) -> bool:
    """Whether a file holds labels with this SHA-256. It may be missing or damaged."""
    try:
        return _digest(_texts(path, COLUMN)) == sha256
    except (pyarrow.ArrowException, OSError, ValueError, IndexError):
        return False


def _texts(listing: Path, name: str) -> Iterator[pyarrow.Array]:
    with pyarrow.parquet.ParquetFile(listing) as file:
        for batch in file.iter_batches(columns=[name]):
            yield as_labels(batch.column(0))


def _digest(pieces: Iterator[pyarrow.Array]) -> str:
    """SHA-256 over the lengths of all texts (-1 for none) and over the texts, however cut up."""
    lengths, texts = hashlib.sha256(), hashlib.sha256()
    for piece in pieces:
        sizes = pyarrow.compute.fill_null(pyarrow.compute.binary_length(piece), -1)
        lengths.update(np.asarray(sizes, np.int32).tobytes())
        texts.update("".join(text for text in piece.to_pylist() if text is not None).encode())
    return hashlib.sha256(lengths.digest() + texts.digest()).hexdigest()
