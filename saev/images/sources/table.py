"""Data sets with a column of images: from the Hugging Face hub, `save_to_disk`, or parquet files.

The library `datasets` reads all three by mapping Arrow files into memory. It converts hub data sets
and parquet files to Arrow once, in its cache (`HF_DATASETS_CACHE`). saev never runs code of a data
set.
"""

import errno
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from saev.core.errors import UserError, listed
from saev.images.sources.source import (
    GROUP_ROWS,
    SOURCE,
    Entry,
    Source,
    SourceFiles,
    read_regular,
    stated,
)
from saev.settings.images import TableSettings

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset


LONGEST_SHOWN = 300
BASE64 = re.compile(r"(data:[\w/+;-]+,)?[A-Za-z0-9+/=_\s-]+")

T = TypeVar("T", bound=TableSettings)


class Table(Source[T]):
    """A table with one image per row."""

    hint = "Check that it is whole"
    """What to do when it can't be read."""

    @property
    def _base(self) -> Path:
        """The folder that paths in the image column are relative to."""
        raise NotImplementedError

    def _load(self) -> Any:
        """Load the data set that the settings name."""
        raise NotImplementedError

    @cached_property
    def _table(self) -> "Dataset":
        try:
            with _quietly():
                found = self._load()
        except UserError:
            raise
        except Exception as error:
            # The library, its network client and Arrow each raise errors of their own.
            cause: BaseException = error.__cause__ or error  # `datasets` wraps what it was told
            text = str(cause).strip().splitlines()
            reason = f"{type(cause).__name__}: {text[0][:200] if text else 'no reason given'}"
            raise UserError(
                f"can't read the data set {self.where} ({reason}). {self.hint}."
            ) from error
        missing = [name for name in self._wanted if name not in found.column_names]
        if missing:
            raise UserError(
                f"{self.where} has no column {' or '.join(map(repr, missing))}; its columns are: "
                f"{', '.join(found.column_names)}. Set `image` to the one with the images."
            )
        return found

    @property
    def _wanted(self) -> list[str]:
        """Columns that must be there."""
        return [self.settings.image, *([self.settings.key] if self.settings.key else [])]

    @cached_property
    def _images(self) -> "Dataset":
        """Only the image column, as mappings of ``bytes`` and ``path``, not decoded."""
        import datasets

        name = self.settings.image
        feature = self._table.features[name]
        if (
            isinstance(feature, (datasets.Sequence, datasets.LargeList, list))
            or "Array" in type(feature).__name__
        ):
            from saev.images.sources.parquet_files import in_lists

            raise in_lists(f"{self.where}: the column {name!r}", str(feature))
        try:
            images = self._table.select_columns([name]).cast_column(
                name, datasets.Image(decode=False)
            )
            return images.with_format("arrow")
        except (TypeError, ValueError, NotImplementedError) as error:
            raise UserError(
                f"{self.where}: the column {name!r} holds {self._table.features[name]}, not images "
                f"(bytes, paths, or both). Set `image` to the one with the images."
            ) from error

    def tables(self) -> Iterator["pyarrow.Table"]:
        import pyarrow as pa

        from saev.images.sources.unique import Unique

        key, start = self.settings.key, 0
        unique = Unique(f"{self.where}: the column {key!r}")
        problems: list[str] = []
        for held, values, n_rows in self._values():
            stop = start + n_rows
            sizes = self._sizes(start, stop, problems)
            if key is None:
                keys = pa.array([f"{row:08}" for row in range(start, stop)])
            else:
                keys = values[key].cast(pa.string())
                unique.add(keys)
            yield pa.table(
                {"key": keys, "bytes": sizes}
                | ({"file": pa.repeat(held, n_rows)} if held else {})
                | {SOURCE + name: column for name, column in values.items()}
            )
            start = stop
        if key is not None:
            unique.require(lambda: (v[key].cast(pa.string()) for _, v, _ in self._values()))
        if problems:
            raise UserError(
                listed(
                    problems,
                    f"{self.where}: these images of the column "
                    f"{self.settings.image!r} are missing:",
                    10,
                )
                + f"\nPaths are relative to {self._base}."
            )

    def _values(self) -> Iterator[tuple[str | None, dict[str, Any], int]]:
        """Yield the columns of text and numbers, in pieces.

        Yields:
            the file that holds the rows, if it is known; the columns; the number of rows.
        """
        table = self._table
        columns = {
            name: feature
            for name, feature in table.features.items()
            if name != self.settings.image and _is_scalar(feature)
        }
        self._require_key(columns)
        scalars = table.select_columns(list(columns)).with_format("arrow") if columns else None
        for start in range(0, len(table), GROUP_ROWS):
            stop = min(start + GROUP_ROWS, len(table))
            values: dict[str, Any] = {}
            if scalars is not None:
                part = scalars[start:stop]
                values = {
                    name: _named(f"{self.where}: the column {name!r}", part.column(name), f)
                    for name, f in columns.items()
                }
            yield None, values, stop - start

    def _require_key(self, columns: dict[str, Any]) -> None:
        key = self.settings.key
        if key is not None and key not in columns:
            raise UserError(f"{self.where}: the column {key!r} holds no text or numbers")

    def _sizes(self, start: int, stop: int, problems: list[str]) -> "pyarrow.Array":
        """Sizes of the images that are files; null for those inside the table."""
        import pyarrow as pa

        sizes: dict[int, int] = {}
        for row, path in self._outside(start, stop):
            try:
                sizes[row] = self._place(path).stat().st_size
            except (OSError, ValueError) as error:
                problems.append(f"row {row}: {_shown(path, error)}")
        if not sizes:
            return pa.nulls(stop - start, pa.int64())
        return pa.array([sizes.get(row) for row in range(start, stop)], pa.int64())

    def _outside(self, start: int, stop: int) -> Iterator[tuple[int, str]]:
        """Rows of images that lie outside of the table, and their paths. Asked in order.

        A row without any image isn't among them: it counts as bad when it is read.
        """
        import pyarrow.compute as pc

        images = self._images[start:stop].column(0)
        outside = pc.is_null(pc.struct_field(images, "bytes")).to_numpy(zero_copy_only=False)
        for i in outside.nonzero()[0].tolist():
            path = images[i]["path"].as_py()
            if path is not None:
                yield start + i, path

    def read(self, entry: Entry) -> bytes:
        image = self._images[entry.row].column(0)[0].as_py()
        if image is not None and image["bytes"] is not None:
            return image["bytes"]
        if image is None or image["path"] is None:
            raise OSError(errno.ENODATA, "there is no image in this row")
        return read_regular(self._place(image["path"]))

    def _place(self, path: str) -> Path:
        """Where an image file lies that the table names.

        Raises:
            OSError: outside of the table's folder. A table from elsewhere must not read others.
        """
        return self._base / path


def _shown(path: str, error: Exception) -> str:
    """A path that can't be used, and why. Cuts a long text short, as it isn't a path."""
    if len(path) > LONGEST_SHOWN:
        kind = "looks like base64" if BASE64.fullmatch(path[:200]) else "is no path"
        return (
            f"{path[:40]}… ({len(path):,} characters) {kind}: store the bytes of the image instead"
        )
    return f"{path}: {getattr(error, 'strerror', None) or error}"


class TableInFiles(Table[T]):
    """A table in local files."""

    def _files(self) -> tuple[Path, list[str]]:
        """The folder of the files, and their names in it."""
        raise NotImplementedError

    def files(self) -> SourceFiles:
        return stated(*self._files())

    @cached_property
    def _base(self) -> Path:
        return self._files()[0]

    def _place(self, path: str) -> Path:
        inside = os.path.normpath(path)
        if Path(inside).is_absolute() or Path(inside).parts[:1] in ((), (os.pardir,)):
            raise OSError(errno.EPERM, "it lies outside of the table's folder", path)
        return self._base / inside


@contextmanager
def _quietly() -> Iterator[None]:
    """Hide the progress bars of `datasets`, and its messages except errors."""
    import datasets

    log, silent = logging.getLogger("datasets"), datasets.are_progress_bars_disabled()
    level = log.level
    log.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        log.setLevel(level)
        if not silent:
            datasets.enable_progress_bars()


def _is_scalar(feature: Any) -> bool:
    import datasets

    if isinstance(feature, datasets.ClassLabel):
        return True
    return isinstance(feature, datasets.Value) and feature.dtype not in ("binary", "large_binary")


def _named(where: str, column: Any, feature: Any) -> Any:
    """A column in one piece. Class numbers become class names; negative ones become null."""
    import datasets
    import pyarrow as pa

    from saev.images.sources.parquet_files import class_texts

    column = column.combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if isinstance(feature, datasets.ClassLabel) and feature.names is not None:
        return class_texts(where, column, feature.names)
    return column
