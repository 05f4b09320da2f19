"""Finds out which columns a table of labels has, from its first line.

The main process checks every table when the workflow starts, so this imports nothing heavy.
"""

import codecs
import csv
import re
from pathlib import Path
from typing import TYPE_CHECKING

from saev.core.errors import UserError

if TYPE_CHECKING:
    import pyarrow

DELIMITERS = (",", ";", "\t")
"""Separators: the comma, and what spreadsheets write in countries with a decimal comma."""
SEPARATOR = re.compile(r"sep=(.)\r?\n?", re.IGNORECASE)
"""A first line by which Excel says what separates the fields."""
LOOKED_AT = 64 << 20
"""How many bytes are checked for valid UTF-8 before anything runs."""


def require_columns(where: str, path: Path, key: str, wanted: str) -> str:
    """Check that a table has the columns with the keys and the labels.

    Args:
        where: the setting and the file, for messages.
        path: a .csv or .parquet file.
        key, wanted: names of the columns.

    Returns:
        the separator of its fields, if it is a text file.

    Raises:
        UserError: it is missing, isn't UTF-8, or lacks a column (the message lists its columns).
    """
    if path.suffix == ".parquet":
        names, delimiter = _parquet_columns(where, path), ""
    else:
        line = _first_line(where, path)
        delimiter = stated_separator(path) or _delimiter(line, (key, wanted))
        names = _split(line, delimiter)
    missing = [column for column in dict.fromkeys((key, wanted)) if column not in names]
    if missing:
        raise UserError(
            f"{where} has no column {' or '.join(map(repr, missing))}; its columns are: "
            f"{', '.join(names)}. Set `key` and `column` to two of them."
        )
    double = [column for column in (key, wanted) if names.count(column) > 1]
    if double:
        raise UserError(f"{where} has several columns called {double[0]!r}: rename all but one")
    return delimiter


def _parquet_columns(where: str, path: Path) -> list[str]:
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_schema(path).names
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{where} can't be read: {error}") from error


def _first_line(where: str, path: Path) -> str:
    """The first line. Also checks that the start of the file is valid UTF-8.

    Raises:
        UserError: it isn't, or can't be read.
    """
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    at, first = 0, ""
    try:
        with path.open("rb") as file:
            while at < LOOKED_AT and (data := file.read(1 << 20)):
                text = decoder.decode(data)
                first = first or text
                if "\0" in text:
                    raise UserError(
                        f"{where} isn't a table in text, as it holds bytes that are zero: save it "
                        f"again as UTF-8 (in a spreadsheet: CSV UTF-8)"
                    )
                at += len(data)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{where} must be text in UTF-8, but holds the byte 0x{error.object[error.start]:02x} "
            f"at {at + error.start:,}: save it again as UTF-8 (in a spreadsheet: CSV UTF-8)"
        ) from None
    except OSError as error:
        raise UserError(f"{where} can't be read: {error.strerror}") from error
    line, _, rest = first.partition("\n")
    first = rest if SEPARATOR.fullmatch(line) else first
    if not first.strip():
        raise UserError(f"{where} is empty")
    # A quoted name may span several lines.
    reader = csv.reader(first.splitlines(keepends=True))
    next(reader, None)
    return "".join(first.splitlines(keepends=True)[: reader.line_num]).rstrip("\r\n")


def stated_separator(path: Path) -> str:
    """The separator that the first line of a CSV file states; empty if it is an ordinary line."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        found = SEPARATOR.fullmatch(file.readline(16))
    return found[1] if found else ""


def _delimiter(line: str, wanted: tuple[str, ...]) -> str:
    """The first separator that gives the wanted columns, or else the most columns."""
    for delimiter in DELIMITERS:
        if set(wanted) <= set(_split(line, delimiter)):
            return delimiter
    return max(DELIMITERS, key=lambda one: len(_split(line, one)))


def _split(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter), [])


def quotes_match(path: Path) -> bool:
    """Whether a CSV file has an even number of quotes."""
    n = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            n += piece.count(b'"')
    return n % 2 == 0


def uneven_rows(where: str, path: Path, columns: list[str], delimiter: str) -> "pyarrow.Table":
    """Read columns of a CSV file whose rows may lack empty fields at their end, or have more.

    Args:
        where: the setting and the file, for the message.
        path: the file; ``delimiter`` separates its fields.
        columns: names of the columns to read.

    Returns:
        the columns as text; null where a field is empty.

    Raises:
        UserError: a row has a field beyond the last column.
        UnicodeDecodeError, csv.Error: it is no text in UTF-8, or not CSV.
    """
    import pyarrow

    values: dict[str, list[str | None]] = {name: [] for name in columns}
    with path.open(encoding="utf-8-sig", newline="") as file:
        stated = bool(stated_separator(path) and file.readline())
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        header = next(reader)
        places = {name: header.index(name) for name in values}
        for row in reader:
            if any(row[len(header) :]):
                line = reader.line_num + stated
                raise UserError(
                    f"{where}, line {line:,}, has {len(row)} fields, but the first line "
                    f"has {len(header)}: put fields that contain {delimiter!r} in quotes"
                )
            if any(row):
                for name, at in places.items():
                    values[name].append((row[at] if at < len(row) else "") or None)
    return pyarrow.table(values, pyarrow.schema([(name, pyarrow.string()) for name in values]))
