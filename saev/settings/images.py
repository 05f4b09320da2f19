"""Settings of the `images` stage: where pictures come from."""

from typing import Literal, Self

from pydantic import Field, model_validator

from saev.settings.base import Settings


class ImagesSettings(Settings):
    """A folder tree of pictures; its sorted listing gives each picture its row."""

    folder: str = Field(description="Folder with the pictures, searched with all its subfolders.")
    n_images: int | None = Field(
        None,
        gt=0,
        description="Number of pictures. With `version`, the folder isn't listed when the workflow "
        "is parsed (it may be huge, elsewhere, or not yet there) but checked when it is read.",
    )
    version: str | None = Field(
        None, min_length=1, description="Any text that changes when the pictures change."
    )
    made: bool = Field(
        False,
        description="The folder is made by a rule of the workflow, which writes `<folder>.json` last.",
    )
    max_pixels: int = Field(
        178_956_970, gt=0, description="A picture with more pixels than this counts as bad."
    )
    on_bad_image: Literal["error", "skip"] = Field(
        "error",
        exclude=True,
        description="What to do with a picture that can't be read: stop and list all bad ones of the "
        "shard, or record the reason and leave its row out. Can be changed at any time: what is "
        "already recorded stays.",
    )
    credit: str | None = Field(
        None, exclude=True, description="Whose pictures these are; shown on the dashboard."
    )

    @model_validator(mode="after")
    def _stated_together(self) -> Self:
        if (self.n_images is None) != (self.version is None):
            raise ValueError("n_images and version go together: state both, or neither")
        if self.made and self.version is None:
            raise ValueError(
                "made: true needs n_images and version, as the folder may not exist yet"
            )
        return self
