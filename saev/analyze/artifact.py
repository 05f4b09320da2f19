"""Artifact of the `analyze` stage: names of its files, and the reader.

Part ``i`` covers the rows ``[i * PART, (i + 1) * PART)`` of the listing. It doesn't depend on
shards.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from saev.core.blocks import BLOCK
from saev.core.errors import UserError, listed
from saev.core.made import require_as_made
from saev.core.meta import altered_files, read_meta

if TYPE_CHECKING:
    import pyarrow

STAGE = "analyze"
LABELS, LATENTS, TABLE = "labels.parquet", "latents.safetensors", "latents.parquet"
PARTS = "parts"
PART_JSON = f"{PARTS}/{{number}}.json"
BASELINES = "baselines"
"""Folder in the activations' directory. It holds the PCAs that analyses share."""
PREFIX = "label."
"""The columns of `labels.parquet` have names like ``label.<name>``."""

PART = 256 * BLOCK
"""Number of listed images in one part (65,536). With it, a job's imports take little of its time, a
part of patches takes minutes, and ImageNet has 20 parts. Constant, as float64 sums depend on it."""


def n_parts(n_images: int, part_images: int = PART) -> int:
    """How many parts an analysis of ``n_images`` listed images has."""
    return math.ceil(n_images / part_images)


def part_json(part: int) -> str:
    """Name of the file that lists a part's files with size and SHA-256. It is written last."""
    return PART_JSON.format(number=f"{part:05}")


def part_folder(part: int) -> str:
    """Folder with the files of one part."""
    return f"{PARTS}/{part:05}"


def baseline_json(key: str) -> str:
    """Name of the file that describes a shared PCA. It is written last."""
    return f"{BASELINES}/{key}.json"


def baseline_tensors(key: str) -> str:
    """Name of the file with a shared PCA's mean and components."""
    return f"{BASELINES}/{key}.safetensors"


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
        require_as_made(self.path.parent, self.path.name)
        try:
            with pyarrow.parquet.ParquetFile(self.path) as file:
                metadata, columns = file.metadata, file.schema_arrow.names
        except FileNotFoundError as error:
            raise UserError(f"{path} is missing: run the stage analyze again") from error
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


class Analysis:
    """Reads `results/{images}/{vit}/{sae}/{analysis}`.

    Args:
        path: the directory of the analysis.

    Raises:
        UserError: the analysis isn't complete, or a file doesn't have the recorded size.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.meta, self.digest = read_meta(self.path, STAGE)
        self.summary: dict = self.meta["summary"]
        problems = altered_files(self.path, self.meta["files"], deep=False)
        if problems:
            raise UserError(
                listed(problems, f"{path} was changed after it was written:")
                + "\nRemove it and run again."
            )
        self.labels = LabelTable(self.path / LABELS)

    def latents(self) -> dict[str, np.ndarray]:
        """Arrays with an entry for each latent: top_values, top_rows, top_patches, fire_count,
        image_count, sum_activation and histogram; and bin_edges."""
        from safetensors.numpy import load_file

        return load_file(self.path / LATENTS)

    def table(self) -> "pyarrow.Table":
        """A row of figures for each latent. Null where a figure isn't defined."""
        import pyarrow.parquet

        return pyarrow.parquet.read_table(self.path / TABLE)
