"""Settings of the `analyze` stage: labels, and how much is kept of each latent."""

from typing import Self

from pydantic import Field, model_validator

from saev.settings.base import Settings


class LabelSettings(Settings):
    """Where one label of the images comes from: exactly one of `folder`, `table`, `source`."""

    folder: bool = Field(False, description="The first level of folders names the label.")
    table: str | None = Field(None, description="A .csv or .parquet with a row a picture.")
    key: str = Field(
        "path", description="Column of the table with the pictures' paths in the folder."
    )
    column: str | None = Field(
        None, description="Column with the label, if not called as the label is."
    )
    sha256: str | None = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description="SHA-256 of the table, when it is made by a rule or isn't here yet.",
    )
    source: str | None = Field(None, description="A column that the source of the images brings.")

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
            raise ValueError(f"table: {self.table} must end in .csv or .parquet")
        return self


class AnalysisSettings(Settings):
    """How a dictionary is looked at."""

    labels: dict[str, LabelSettings] = Field({}, description="Labels by name; none, one or many.")
    top_images: int = Field(16, gt=0, description="Images kept for each latent.")
    on: str | None = Field(
        None,
        description="Another entry of `images` to look at, instead of the one trained on.",
    )
