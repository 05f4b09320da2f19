"""Artifact of the `images` stage: the manifest, which gives each picture its row.

``manifest.parquet`` has the columns ``row`` (int64), ``key`` (text, the path relative to the folder,
with ``/``) and ``bytes`` (int64), in the order of ``row``, which counts from 0.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from saev.artifacts.meta import META, read_meta
from saev.errors import UserError

if TYPE_CHECKING:
    import pyarrow

MANIFEST = "manifest.parquet"
STAGE = "images"
GROUP_ROWS = 65_536
"""Rows in a row group: what is read for a range of a few rows."""


class Entry(NamedTuple):
    """One picture of the manifest."""

    row: int
    """Its row id: the position in the sorted listing."""
    key: str
    """Its path relative to the folder, with ``/``."""
    bytes: int
    """Its size when it was listed."""


class Images:
    """Reader of `results/{images}`.

    Args:
        path: the directory of the images.

    Raises:
        UserError: there is no complete manifest.
    """

    def __init__(self, path: str | Path) -> None:
        import pyarrow.parquet

        self.path = Path(path)
        self.meta, self.digest = read_meta(self.path, STAGE)
        self.settings: dict[str, Any] = self.meta["settings"]
        self.folder = Path(self.settings["folder"])
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

    def read(self, start: int, stop: int) -> list[Entry]:
        """Read the entries of the rows ``start`` to ``stop`` (excluded), without the rest."""
        stop = min(stop, self.n_images)
        if not 0 <= start < stop:
            return []
        groups = range(start // GROUP_ROWS, (stop - 1) // GROUP_ROWS + 1)
        table: pyarrow.Table = self._file.read_row_groups(
            list(groups), columns=["row", "key", "bytes"]
        )
        table = table.slice(start - groups[0] * GROUP_ROWS, stop - start)
        columns = (table.column(name).to_pylist() for name in ("row", "key", "bytes"))
        return [Entry(*values) for values in zip(*columns, strict=True)]

    def file(self, entry: Entry) -> Path:
        """Where the picture lies."""
        return self.folder / entry.key
