"""Settings of the `analyze` stage: labels, and how much to keep for each latent."""

from pydantic import Field

from saev.settings.labels import LabelsResolved, LabelsSettings


class AnalysisSettings(LabelsSettings):
    """How to analyse a dictionary."""

    top_images: int = Field(
        16, gt=0, le=65_536, description="Number of top images to keep for each latent."
    )
    on: str | None = Field(
        None,
        description="Another entry of `images` to analyse, instead of the one that the dictionary "
        "was trained on.",
    )


class AnalysisResolved(LabelsResolved):
    """What an analysis refers to."""

    on: str | None = Field(None, description="Directory of the analysed images, with its digest.")
