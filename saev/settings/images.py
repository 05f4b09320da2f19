"""Settings of the `images` stage: where pictures come from."""

from typing import Literal, Self

from pydantic import Field, model_validator

from saev.settings.base import Settings

SOURCES = ("folder", "hub", "saved", "parquet", "tars")
BELONGS = {
    "image": ("hub", "saved", "parquet", "tars"),
    "key": ("hub", "saved", "parquet"),
    "revision": ("hub",),
    "split": ("hub", "saved"),
    "config": ("hub",),
    "made": ("folder",),
}
"""Settings that only some sources take."""


class ImagesSettings(Settings):
    """Where pictures come from: exactly one of `folder`, `hub`, `saved`, `parquet`, `tars`. The order
    that it lists them in gives each picture its row."""

    folder: str | None = Field(
        None, description="Folder with the pictures, searched with all its subfolders."
    )
    hub: str | None = Field(
        None,
        description="Data set of the Hugging Face hub (`owner/name`), with `revision` and `n_images`.",
    )
    saved: str | None = Field(
        None, description="Folder that `save_to_disk` of Hugging Face's `datasets` has written."
    )
    parquet: str | None = Field(
        None, description="Parquet files with a column of images: a file, a folder, or a pattern."
    )
    tars: str | None = Field(
        None, description="WebDataset tars, not compressed: a file, a folder, or a pattern."
    )
    image: str = Field(
        "image",
        min_length=1,
        description="Of a data set: the column with the images (bytes or paths). Of tars: the extension "
        "of the pictures, needed only if a sample holds several.",
    )
    key: str | None = Field(
        None,
        description="Of a data set: a column whose text names each picture; else it is called by the "
        "number of its row.",
    )
    revision: str | None = Field(
        None, min_length=1, description="Of a hub data set: commit or tag that is meant."
    )
    split: str = Field("train", description="Of a hub or saved data set: its split.")
    config: str | None = Field(
        None, description="Of a hub data set: its configuration, if it has any."
    )
    n_images: int | None = Field(
        None,
        gt=0,
        description="Number of pictures. With `version`, the source isn't listed when the workflow "
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
    def _one_source(self) -> Self:
        given = [name for name in SOURCES if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"needs exactly one of {', '.join(SOURCES)}; "
                + (f"it has {' and '.join(given)}" if given else "it has none")
            )
        for name, sources in BELONGS.items():
            if name in self.model_fields_set and given[0] not in sources:
                raise ValueError(f"{name} belongs to {' and '.join(sources)}, not to {given[0]}")
        if self.hub is not None and (self.revision is None or self.n_images is None):
            raise ValueError(
                "hub needs revision (which commit or tag) and n_images (how many pictures), as nothing "
                "is fetched when the workflow is parsed"
            )
        return self

    @model_validator(mode="after")
    def _stated_together(self) -> Self:
        if self.hub is not None:
            if self.version is not None:
                raise ValueError("a hub data set has its revision: version isn't needed")
            return self
        if (self.n_images is None) != (self.version is None):
            raise ValueError("n_images and version go together: state both, or neither")
        if self.made and self.version is None:
            raise ValueError(
                "made: true needs n_images and version, as the folder may not exist yet"
            )
        return self
