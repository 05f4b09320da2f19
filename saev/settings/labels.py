"""Settings of the `labels` stage: where the labels of images come from."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from saev.settings.component import Resolved, Settings
from saev.settings.paths import AtHome


class LabelSettings(Settings):
    """Where a label of the images comes from: exactly one of `folder`, `table`, `source`."""

    folder: bool = Field(False, description="Use the top-level folder of each image as its label.")
    table: AtHome | None = Field(
        None, description="A .csv or .parquet table with one row for each image."
    )
    key: str = Field(
        "path",
        description="Column of the table that holds the keys of the images (for a folder: paths in "
        "it).",
    )
    column: str | None = Field(
        None,
        description="Column of the table that holds the label. Without it, the name of the label.",
    )
    sha256: str | None = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description="SHA-256 of the table. Needed if a rule makes the table, or if it isn't here "
        "yet.",
    )
    source: str | None = Field(None, description="A column of the source of the images.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [self.folder, self.table is not None, self.source is not None]
        if sum(given) != 1:
            raise ValueError(
                "a label needs exactly one of folder: true, table: FILE, source: COLUMN"
            )
        if self.table is None and (self.column or self.sha256 or self.key != "path"):
            raise ValueError("key, column and sha256 belong to table")
        if self.table is not None and not self.table.endswith((".csv", ".parquet")):
            raise ValueError(
                f"table: {self.table} must end in .csv or .parquet: save it from a spreadsheet as "
                f"CSV (UTF-8), or write it with pandas' to_csv or to_parquet"
            )
        return self


class LabelsSettings(Settings):
    """The labels of an analysis. Analyses of the same images with equal labels share them."""

    labels: dict[Annotated[str, Field(min_length=1)], LabelSettings] = Field(
        {}, description="Labels by name: none, one or many."
    )


class TableResolved(Resolved):
    """The table, or the column of the source, that a label came from."""

    sha256: str | None = Field(
        None,
        description="SHA-256 of the table, unless the settings give it; or of the source's labels, "
        "if they were corrected after the images were listed.",
    )


class LabelsResolved(Resolved):
    """What labels refer to."""

    labels: dict[str, TableResolved] = Field({}, description="What labels came from, by name.")
