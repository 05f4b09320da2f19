"""Settings of the `images` stage: a class for each source. A key of the entry names the source."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Discriminator, Field, Strict, Tag, model_validator

from saev.settings.component import Resolved, Settings, identity
from saev.settings.near import did_you_mean
from saev.settings.paths import PathText


class ImagesSettings(Settings):
    """What every source shares."""

    n_images: int | None = Field(
        None,
        gt=0,
        description="Number of images. If you give `n_images` and `version`, the source isn't "
        "listed when the workflow starts, so it may be huge, elsewhere or not there yet. The "
        "number is checked when the images are listed.",
    )
    max_pixels: int = Field(
        178_956_970, gt=0, description="An image with more pixels than this counts as bad."
    )
    gray_range: Annotated[tuple[float, float], Strict(False)] | None = Field(
        None,
        description="In gray images of more than 8 bits, the values that become black and white, "
        "such as `[0, 4095]` for 12 bits in a 16-bit file. Lower values become black, and higher "
        "ones white. Without `gray_range`: 0 and 65535 for integers, 0 and 1 for floats.",
    )
    on_bad_image: Literal["error", "skip"] = Field(
        "error",
        exclude=True,
        description="What to do with an image that can't be read. `error` stops, and lists all bad "
        "images of the shard. `skip` records the reason and leaves the row empty. You can change "
        "this at any time: what is already recorded stays as it is.",
    )
    credit: str | None = Field(
        None, exclude=True, description="Whose images these are. The page shows it."
    )

    @model_validator(mode="after")
    def _black_below_white(self) -> Self:
        if self.gray_range is not None and self.gray_range[0] >= self.gray_range[1]:
            black, white = self.gray_range
            raise ValueError(f"gray_range: black ({black:g}) must be less than white ({white:g})")
        return self

    @property
    def ready(self) -> str | None:
        """The last file written by the rule that makes the source; None if no rule makes it."""
        return None

    def moved(self, locate: Callable[[str], str]) -> Self:
        """The same source with its path replaced by ``locate(path)``, if it has a path."""
        return self


class LocalSettings(ImagesSettings):
    """What sources on a disk share."""

    version: str | None = Field(
        None, min_length=1, description="Any text. Change it whenever the images change."
    )

    @model_validator(mode="after")
    def _stated_together(self) -> Self:
        if (self.n_images is None) != (self.version is None):
            raise ValueError("n_images and version go together: give both, or neither")
        return self

    def moved(self, locate: Callable[[str], str]) -> Self:
        place = source_of(self)
        return self.model_copy(update={place: locate(getattr(self, place))})


class FolderSettings(LocalSettings):
    """A folder of images. Rows follow the sorted paths."""

    folder: PathText = Field(description="Folder of images, searched with all its subfolders.")
    made: bool = Field(
        False,
        description="Whether a rule of the workflow makes the folder. The rule writes "
        "`<folder>.json` last.",
    )

    @model_validator(mode="after")
    def _made_is_stated(self) -> Self:
        if self.made and self.version is None:
            raise ValueError(
                "made: true needs n_images and version, because the folder may not exist yet"
            )
        return self

    @property
    def ready(self) -> str | None:
        return f"{self.folder}.json" if self.made else None


class TableSettings(ImagesSettings):
    """What data sets with one image in each row share."""

    image: str = Field(
        "image", min_length=1, description="Column that holds the images (bytes or paths)."
    )
    key: str | None = Field(
        None,
        description="Column whose text names each image. Without it, the key of an image is its "
        "row number.",
    )


class HubSettings(TableSettings):
    """A data set on the Hugging Face hub. Rows follow its own order."""

    hub: str = Field(description="Name of the data set (`owner/name`).")
    revision: str = Field(min_length=1, description="Commit or tag to use.")
    n_images: int = Field(
        gt=0,
        description="Number of images. It is needed because nothing is downloaded when the "
        "workflow starts. The number is checked when the images are listed.",
    )
    config: str | None = Field(None, description="Configuration to use, if there are several.")
    split: str = Field("train", description="Split to use.")


class SavedSettings(TableSettings, LocalSettings):
    """A folder from `save_to_disk` of Hugging Face's `datasets`. Rows follow its own order."""

    saved: PathText = Field(description="Folder of the data set.")
    split: str = Field("train", description="Split to use, if there are several.")


class ParquetSettings(TableSettings, LocalSettings):
    """Parquet files with a column of images. Rows follow the sorted file names."""

    parquet: PathText = Field(description="A file, a folder or a pattern.")


class TarsSettings(LocalSettings):
    """Uncompressed WebDataset tars. Rows follow the sorted names, then the order in each tar."""

    tars: PathText = Field(description="A file, a folder or a pattern.")
    image: str | None = Field(
        None,
        min_length=1,
        description="File extension of the images. Needed only if a sample holds several.",
    )


def source_of(given: Any) -> str:
    """The source of an entry (a mapping or a settings object), as a key of `SOURCE_SETTINGS`."""
    fields = given if isinstance(given, dict) else vars(given)
    return next(key for key in SOURCE_SETTINGS if key in fields)


def _with_one_source(given: Any) -> Any:
    """Check that an entry has one source, and drop sources that are null.

    A settings file can set a key to null to remove it from an entry of another file.
    """
    entry = given if isinstance(given, dict) else {}
    known = list(SOURCE_SETTINGS)
    found = [key for key in known if entry.get(key) is not None]
    if len(found) != 1:
        near = next(filter(None, (did_you_mean(str(key), known) for key in entry)), "")
        had = " and ".join(found) or f"none{near}"
        raise ValueError(f"needs exactly one of {', '.join(known)}; it has {had}")
    return {key: value for key, value in entry.items() if key in found or key not in known}


AnyImagesSettings = Annotated[
    Annotated[FolderSettings, Tag("folder")]
    | Annotated[HubSettings, Tag("hub")]
    | Annotated[SavedSettings, Tag("saved")]
    | Annotated[ParquetSettings, Tag("parquet")]
    | Annotated[TarsSettings, Tag("tars")],
    Discriminator(source_of),
    BeforeValidator(_with_one_source),
]
SOURCE_SETTINGS: dict[str, type[ImagesSettings]] = {
    tag.tag: cls for cls, tag in map(get_args, get_args(get_args(AnyImagesSettings)[0]))
}
"""Settings class by source."""


class ImagesResolved(Resolved):
    """What a source held when the workflow was parsed."""

    fingerprint: str | None = Field(
        None, description="Fingerprint of the listing; none if `version` or `revision` replaces it."
    )


def content(settings: ImagesSettings, resolved: ImagesResolved) -> dict[str, Any]:
    """What the directory of images is named after. The fingerprint of a listing replaces its path.

    So images that were moved, or whose path is written in another way, keep their directory.
    """
    found = identity(settings, resolved)
    if resolved.fingerprint is not None:
        found.pop(source_of(settings))
    return found


def place(settings: ImagesSettings) -> dict[str, str]:
    """Where images lie: the path, or the name on the hub, by source."""
    source = source_of(settings)
    return {source: getattr(settings, source)}
