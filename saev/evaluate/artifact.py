"""Artifact of the `evaluate` stage: names of its files, and the reader.

An evaluation lies in the directory of its analysis, `evaluations/{evaluation}`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from saev.analyze.artifact import TABLE
from saev.core.files import read_json
from saev.core.meta import WholeFiles, read_meta

if TYPE_CHECKING:
    import pyarrow

STAGE = "evaluate"
FOLDER = "evaluations"
"""Folder in the directory of an analysis that holds its evaluations."""
FIGURES = "evaluation.json"
PARTNERS = "coactivation.parquet"
"""The partners of each latent. Only an evaluation with `coactivation` has it."""
BY_CLASS = "masks.parquet"
"""The latents that find each class. Only an evaluation with `masks` has it."""
SCORES = "names.json"
"""Scores of the names that people gave. It lies beside the page, as names change without it."""

__all__ = ["BY_CLASS", "FIGURES", "FOLDER", "PARTNERS", "SCORES", "STAGE", "TABLE", "Evaluation"]


class Evaluation:
    """Reads `…/{analysis}/evaluations/{evaluation}`.

    Args:
        path: its directory.

    Raises:
        UserError: it isn't complete, or a file doesn't have the recorded size. Their SHA-256 are
            compared when they are first read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.meta, self.digest = read_meta(self.path, STAGE)
        self.files = WholeFiles(self.path, self.meta["files"])

    @property
    def figures(self) -> list[dict[str, Any]]:
        """The figures of the run, each with its baselines: see docs/evaluation.md."""
        found: list[dict[str, Any]] = read_json(self.files.path(FIGURES))["figures"]
        return found

    @property
    def left_out(self) -> dict[str, dict[str, int]]:
        """By label, or ``masks``, the classes with too few images, and how many they have."""
        found: dict[str, dict[str, int]] = read_json(self.path / FIGURES)["left_out"]
        return found

    def table(self) -> "pyarrow.Table":
        """A row of figures for each latent. Null where a figure isn't defined."""
        import pyarrow.parquet

        return pyarrow.parquet.read_table(self.files.path(TABLE))

    def partners(self) -> "pyarrow.Table | None":
        """For each latent those that fire with it; None if that wasn't asked for."""
        import pyarrow.parquet

        if not (self.path / PARTNERS).is_file():
            return None
        return pyarrow.parquet.read_table(self.files.path(PARTNERS))

    def by_class(self) -> "pyarrow.Table | None":
        """The latents that find each class of masks; None if that wasn't asked for."""
        import pyarrow.parquet

        if not (self.path / BY_CLASS).is_file():
            return None
        return pyarrow.parquet.read_table(self.files.path(BY_CLASS))
