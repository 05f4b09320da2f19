"""Artifact of the `labels` stage: where labels lie, names of their files, and the reader.

Labels depend on the images and on an analysis's setting `labels` alone. So they lie in the
directory of the images, under a digest of that setting, and analyses share them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from saev.core.blocks import BLOCK
from saev.core.errors import UserError
from saev.core.meta import read_meta, require_unaltered
from saev.settings.component import digest

if TYPE_CHECKING:
    import pyarrow

STAGE = FOLDER = "labels"
"""Name of the stage, and of the folder in the images' directory that holds sets of labels."""
TABLE = "labels.parquet"
PREFIX = "label."
"""The columns of `labels.parquet` have names like ``label.<name>``."""
PIECE = 256 * BLOCK
"""Number of images in a row group of the table, and in a part of an analysis (65,536)."""


def labels_folder(images: Path, labels: dict[str, Any]) -> Path:
    """Directory of the labels of images.

    Args:
        images: directory of the images.
        labels: settings of the labels by name, with what they were resolved to.
    """
    return images / FOLDER / digest({"labels": labels})


class LabelTable:
    """Reads `labels.parquet` by row id, in pieces of bounded size.

    Args:
        path: the file.

    Raises:
        UserError: it is missing or isn't such a table.
    """

    def __init__(self, path: str | Path) -> None:
        import pyarrow
        import pyarrow.parquet

        self.path = Path(path)
        try:
            with pyarrow.parquet.ParquetFile(self.path) as file:
                metadata, columns = file.metadata, file.schema_arrow.names
        except FileNotFoundError as error:
            raise UserError(f"{path} is missing: run the workflow again") from error
        except pyarrow.ArrowInvalid as error:
            raise UserError(
                f"{path} isn't a parquet file ({error}): remove it and run again"
            ) from error
        self.names = sorted(c.removeprefix(PREFIX) for c in columns if c.startswith(PREFIX))
        self.n_images: int = metadata.num_rows
        sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])

    def read(self, start: int, stop: int) -> "pyarrow.Table":
        """Rows ``[start, stop)`` of the listing. Loads only the row groups that hold them."""
        import pyarrow.parquet

        start, stop = max(0, start), min(stop, self.n_images)
        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        last = int(np.searchsorted(self._starts, stop, side="left"))
        with pyarrow.parquet.ParquetFile(self.path) as file:
            groups = list(range(first, last)) if start < stop else []
            return file.read_row_groups(groups).slice(
                start - int(self._starts[first]) if groups else 0, max(0, stop - start)
            )

    def pieces(self) -> Iterator[tuple[int, "pyarrow.Table"]]:
        """Yield ``(first row, table)`` of each row group, in row order."""
        for first, last in zip(self._starts[:-1], self._starts[1:], strict=True):
            yield int(first), self.read(int(first), int(last))

    def take(self, rows: np.ndarray) -> list[dict[str, str | None]]:
        """Labels of single rows, in the order of ``rows``: for each row, its labels by name."""
        rows = np.asarray(rows, dtype=np.int64)
        found: dict[int, dict[str, str | None]] = {}
        groups = np.searchsorted(self._starts, rows, side="right") - 1
        for group in np.unique(groups):
            first, last = int(self._starts[group]), int(self._starts[group + 1])
            wanted = np.unique(rows[groups == group])
            for record in self.read(first, last).take(wanted - first).to_pylist():
                found[record["row"]] = {name: record[PREFIX + name] for name in self.names}
        return [found[int(row)] for row in rows]


class NoLabels(LabelTable):
    """Stands for the labels of an analysis that has none.

    Args:
        n_images: number of listed images.
    """

    def __init__(self, n_images: int) -> None:
        self.names, self.n_images = [], n_images
        self._starts = np.zeros(1, np.int64)

    def read(self, start: int, stop: int) -> "pyarrow.Table":
        """Rows ``[start, stop)`` of the listing, without labels."""
        import pyarrow

        return pyarrow.table({"row": np.arange(start, min(stop, self.n_images), dtype=np.int64)})

    def take(self, rows: np.ndarray) -> list[dict[str, str | None]]:
        """Nothing, for each of ``rows``."""
        return [{} for _ in rows]


def read_labels(folder: str | Path) -> tuple[LabelTable, str]:
    """Read the labels in a directory, and the SHA-256 of their `meta.json`.

    Raises:
        UserError: they are missing, incomplete, or were altered.
    """
    meta, sha256 = read_meta(folder, STAGE)
    require_unaltered(folder, meta["files"])
    return LabelTable(Path(folder, TABLE)), sha256
