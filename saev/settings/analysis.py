"""Settings of the `analyze` stage: labels, and how much to keep for each latent."""

from typing import Self

from pydantic import Field, model_validator

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
    codes_gib: float = Field(
        4.0,
        ge=0,
        exclude=True,
        description="Largest size in GiB of the codes that the analysis keeps: which latents fire "
        "on each vector, and how strongly. Pages and evaluations read them instead of encoding "
        "images again. Each part may use its share of images; if it needs more, it keeps none. 0 "
        "keeps none. This changes no result.",
    )
    names: AtHome | None = Field(
        None,
        exclude=True,
        description="A .csv file with names of latents, which the page shows. The page can save "
        "your own names as one. You can change this at any time.",
    )
    projection: bool = Field(
        False,
        exclude=True,
        description="Whether the map of the page can also place latents by their decoder "
        "directions, so that similar ones lie together. Needs `pip install "
        "'saev-workflow[projection]'`. You can change this at any time.",
    )
    score_names: bool = Field(
        False,
        exclude=True,
        description="Whether to score the names in `names`: on held-out images, the text tower of "
        "the model says whether the latent's own name is the nearest of five. Runs the tower again "
        "over 16 images for each name. You can change this at any time.",
    )

    @model_validator(mode="after")
    def _names_to_score(self) -> Self:
        if self.score_names and self.names is None:
            raise ValueError("score_names needs names: a .csv file")
        return self


class AnalysisResolved(LabelsResolved):
    """What an analysis refers to."""

    on: str | None = Field(None, description="Directory of the analysed images, with its digest.")
