"""Settings of the pages. They have no entries of their own in `config.yaml`."""

from pydantic import Field

from saev.settings.component import Settings


class PageSettings(Settings):
    """Settings of the page of one run."""

    credit: str | None = Field(None, description="Whose images these are.")


class BesideSettings(Settings):
    """What lies beside the page of a run."""

    names: str | None = Field(None, description="A .csv file with names of latents.")
    sha256: str | None = Field(None, description="SHA-256 of that file.")
    score_names: bool = Field(False, description="Whether to show how well they were scored.")


class ScoreSettings(Settings):
    """Which names of latents to score."""

    names: str = Field(description="A .csv file with names of latents.")
    sha256: str = Field(description="SHA-256 of the dictionary's names in it.")


class GallerySettings(Settings):
    """Settings of the page of all runs."""

    sweeps: dict[str, tuple[str, ...]] = Field(
        {}, description="Directories of the points of each swept entry."
    )
