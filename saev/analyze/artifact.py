"""Artifact of the `analyze` stage: names of its files, and the reader.

Part ``i`` covers the rows ``[i * PART, (i + 1) * PART)`` of the listing. It doesn't depend on
shards.
"""

import math
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from saev.core.errors import UserError
from saev.core.made import require_as_made
from saev.core.meta import WholeFiles, read_meta
from saev.labels.artifact import PIECE, LabelTable, NoLabels, labels_folder, read_labels
from saev.labels.artifact import STAGE as LABELS
from saev.labels.artifact import TABLE as LABEL_TABLE

if TYPE_CHECKING:
    import pyarrow

STAGE = "analyze"
FORMAT = 2
"""Of the files. 2 added lift, places, and the images beside the strongest."""
LATENTS, TABLE = "latents.safetensors", "latents.parquet"
PURITY_IMAGES = 16
"""How many top images the figures of their labels look at."""
PARTS = "parts"
PART_JSON = f"{PARTS}/{{number}}.json"
CODES = "codes"
"""Folder of the codes that an analysis keeps. They may be deleted at any time."""
BASELINES = "baselines"
"""Folder in the activations' directory. It holds the PCAs that analyses share."""

PART = PIECE
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


def codes_json(part: int) -> str:
    """Name of the file that lists a part's codes with size and SHA-256. It is written last."""
    return f"{CODES}/{part:05}.json"


def codes_entries(part: int) -> str:
    """Name of the file with what fires in a part."""
    return f"{CODES}/{part:05}.entries.npy"


def codes_counts(part: int) -> str:
    """Name of the file that says how many latents fire on each vector of a part."""
    return f"{CODES}/{part:05}.counts.npy"


def baseline_json(key: str) -> str:
    """Name of the file that describes a shared PCA. It is written last."""
    return f"{BASELINES}/{key}.json"


def baseline_tensors(key: str) -> str:
    """Name of the file with a shared PCA's mean and components."""
    return f"{BASELINES}/{key}.safetensors"


def labels_of(path: Path, settings: dict[str, Any]) -> Path:
    """Directory of the labels of an analysis.

    Args:
        path: directory of the analysis.
        settings: the settings in its `meta.json`.
    """
    images = path.parents[2]
    on = settings.get("on")
    return labels_folder(images.parent / on if on else images, settings["labels"])


class Analysis:
    """Reads `results/{images}/{vit}/{sae}/{analysis}`.

    Args:
        path: the directory of the analysis.

    Raises:
        UserError: the analysis isn't complete, or a file doesn't have the recorded size. Their
            SHA-256 are compared when they are first read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.meta, self.digest = read_meta(self.path, STAGE)
        self.summary: dict = self.meta["summary"]
        self.files = WholeFiles(self.path, self.meta["files"])

    @property
    def is_current(self) -> bool:
        """Whether it holds all that pages show. Those by older versions lack some."""
        return self.summary.get("format", 1) >= FORMAT

    def require_format(self) -> None:
        """Refuse an analysis by an older version, which lacks what pages show.

        Raises:
            UserError: it is one.
        """
        if not self.is_current:
            raise UserError(
                f"{self.path} was made by an older version of saev, without what pages show now: "
                f"run the workflow again"
            )

    @property
    def label_names(self) -> list[str]:
        """Names of its labels, sorted. Reads no file."""
        return sorted(self.meta["settings"].get("labels", {}))

    @cached_property
    def labels(self) -> LabelTable:
        """Labels of all listed images.

        Raises:
            UserError: they are missing, altered, or not those that were analysed.
        """
        if any(entry["name"] == LABEL_TABLE for entry in self.meta["files"]):
            # Made by a version whose analyses had labels of their own.
            require_as_made(self.path, LABEL_TABLE)
            return LabelTable(self.path / LABEL_TABLE)
        if not self.label_names:
            return NoLabels(self.summary["all"]["n_images"] + self.summary["n_skipped"])
        folder = labels_of(self.path.absolute(), self.meta["settings"])
        table, digest = read_labels(folder)
        if self.meta["inputs"].get(LABELS) != digest:
            raise UserError(
                f"{self.path} wasn't made from the labels that {folder} holds now: run the "
                f"workflow again"
            )
        return table

    def latents(self) -> dict[str, np.ndarray]:
        """Arrays with an entry for each latent: top_values, top_rows, top_patches, fire_count,
        image_count, sum_activation and histogram; and bin_edges."""
        from safetensors.numpy import load_file

        return load_file(self.files.path(LATENTS))

    def table(self, columns: list[str] | None = None) -> "pyarrow.Table":
        """A row of figures for each latent, or some of them. Null where a figure isn't defined."""
        import pyarrow.parquet

        return pyarrow.parquet.read_table(self.files.path(TABLE), columns=columns)
