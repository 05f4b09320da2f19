"""Settings of the `analyze` stage: labels, and how much to keep for each latent."""

from pydantic import Field

from saev.settings.labels import LabelsResolved, LabelsSettings
from saev.settings.paths import AtHome


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
    names: AtHome | None = Field(
        None,
        exclude=True,
        description="A .csv file with names of latents, which the page shows. The page can save "
        "one: what you wrote there yourself. You can change this at any time.",
    )
    projection: bool = Field(
        False,
        exclude=True,
        description="Whether the map of the page can also place latents by their decoder "
        "directions, so that similar ones lie together. Needs the package openTSNE. You can change "
        "this at any time.",
    )


class AnalysisResolved(LabelsResolved):
    """What an analysis refers to."""

    on: str | None = Field(None, description="Directory of the analysed images, with its digest.")
