"""Settings of the `evaluate` stage: which metrics say what a dictionary is worth."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from saev.settings.component import Resolved, Settings
from saev.settings.paths import PathText

FolderName = Annotated[str, StringConstraints(pattern=r"^[^/\\.][^/\\]*$")]
"""The name of a folder, without a path."""
WORD_IMAGES = 4
"""Strongest images of a latent that choose its word of a vocabulary."""


class MaskSettings(Settings):
    """Masks: images whose pixel values say which class lies where."""

    folder: PathText = Field(
        description="Folder of masks. The mask of the image `a/b.jpg` is `a/b.png` in it, a PNG "
        "that is upright like the image as a person sees it."
    )
    ending: str = Field(
        ".png",
        pattern=r"\.png$",
        description="What the name of a mask has in place of the image's extension, such as "
        "`_object.png`.",
    )
    pixels: Literal["index", "red_green", "file"] = Field(
        "index",
        description="How pixels name classes. `index`: by their index in a palette, or their gray "
        "value. `red_green`: by red + 256 · green, as in Broden. `file`: each class has files of "
        "its own, in a folder of its name: `CLASS/a/b.png` is the mask of `a/b.jpg`, and every "
        "pixel but 0 is of the class.",
    )
    unnamed: Literal["refuse", "none"] = Field(
        "refuse",
        description="What to do with pixel values that `classes` doesn't name, or folders with "
        "`pixels: file`: refuse them, or take them for no class.",
    )
    classes: (
        Annotated[dict[str, Annotated[int, Field(ge=1, le=65535)]], Field(min_length=1)]
        | Annotated[tuple[FolderName, ...], Field(min_length=1)]
    ) = Field(
        description="The pixel value of each class, such as `{skin: 1, hair: 2}`. 0 is no class. "
        "With `pixels: file`, the folders, such as `[skin, hair]`.",
    )
    sha256: str | None = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description="SHA-256 of the folder, from its sorted paths and the SHA-256 of each file. "
        "Needed if a rule draws the masks, or if they aren't here yet.",
    )

    @model_validator(mode="after")
    def _a_value_each(self) -> Self:
        if isinstance(self.classes, dict) == (self.pixels == "file"):
            raise ValueError(
                "classes: with pixels: file, list the folders of the classes: [skin, hair]"
                if self.pixels == "file"
                else "classes: give each class its pixel value: {skin: 1, hair: 2}; only pixels: "
                "file takes a list"
            )
        if not isinstance(self.classes, dict):
            if len(set(self.classes)) < len(self.classes):
                raise ValueError("classes: a folder is listed twice: remove it once")
            return self
        for name, value in self.classes.items():
            first = next(one for one, other in self.classes.items() if other == value)
            if first != name:
                raise ValueError(f"classes: {first} and {name} have the same pixel value {value}")
            if value > 255 and self.pixels == "index":
                raise ValueError(
                    f"classes: {name} has the pixel value {value}, and 255 is the "
                    f"largest: only pixels: red_green has larger ones"
                )
        return self


class HierarchySettings(Settings):
    """Two labels: the classes of one lie under those of the other."""

    parent: str = Field(description="The label of the wider classes, such as `genus`.")
    child: str = Field(description="The label of the narrower classes, such as `species`.")

    @model_validator(mode="after")
    def _two_labels(self) -> Self:
        if self.parent == self.child:
            raise ValueError(f"parent and child are both {self.parent}: name two labels")
        return self


class EvaluationSettings(Settings):
    """What to measure of a dictionary. A metric that you leave out costs nothing."""

    redundancy: bool = Field(
        True, description="How near each latent's decoder row is to that of another latent."
    )
    spatial: bool = Field(
        True, description="Whether a latent fires in one region of the image, or here and there."
    )
    stability: bool = Field(
        True,
        description="Whether dictionaries of other runs that differ in `init_seed` alone have the "
        "same latents. `sweep: {init_seed: [0, 1, 2]}` makes them.",
    )
    coactivation: bool = Field(
        False, description="Which latents fire together more often than by chance."
    )
    probing: tuple[str, ...] = Field(
        (),
        description="Labels of the analysis: how much one, two and five latents know of each "
        "class.",
    )
    downstream: str | None = Field(
        None,
        description="A label of the analysis: how well the tower still tells its classes apart if "
        "it sees reconstructions. Runs the tower again over some thousand images.",
    )
    zero_shot: str | None = Field(
        None,
        description="A label of the analysis whose classes are named in words: how well the model "
        "tells them apart by their names if its tower sees reconstructions. Needs a model with a "
        "text tower. Runs the tower again over at most 512 images, six times.",
    )
    ablation: str | None = Field(
        None,
        description="A label of the analysis: how much less the tower says a class if the latent "
        "that knows it best is taken out. Runs the tower again over some thousand images.",
    )
    absorption: HierarchySettings | None = Field(
        None,
        description="Two labels of the analysis: how often the latent of a wider class is silent "
        "because latents of narrower classes fire in its place.",
    )
    monosemanticity: str | None = Field(
        None,
        pattern=r"^(pooled|layer-\d{2,}\.cls)$",
        description="A recorded stream with one vector for each image, such as `pooled` or "
        "`layer-11.cls`: how alike, by these vectors, the images are on which a latent fires. The "
        "dictionary must see another stream.",
    )
    masks: MaskSettings | None = Field(
        None,
        description="How well single latents of patches find what masks show.",
    )
    vocabulary: PathText | None = Field(
        None,
        description="A text file with a word or phrase on each line: which of them the model's "
        "text tower finds nearest to a latent's strongest images. The page shows it as a "
        "suggestion where chance doesn't explain it. Runs the tower over four images for each "
        "latent.",
    )
    seed: int = Field(
        0, ge=0, description="Seed of bootstraps, of random baselines and of samples."
    )

    @field_validator("probing")
    @classmethod
    def _a_label_once(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"{twice[0]} is listed twice: remove it once")
        return labels

    def labels_used(self) -> list[tuple[str, str]]:
        """Labels of the analysis that it needs, each with the key that names it."""
        used = [("probing", label) for label in self.probing]
        single = (
            ("downstream", self.downstream),
            ("zero_shot", self.zero_shot),
            ("ablation", self.ablation),
        )
        two = self.absorption
        pair = () if two is None else (("parent", two.parent), ("child", two.child))
        used += [(f"absorption.{key}", label) for key, label in pair]
        return [*used, *((key, label) for key, label in single if label)]


class MasksResolved(Resolved):
    """The masks that were there when the workflow started."""

    sha256: str | None = Field(
        None, description="SHA-256 of their names and contents, unless the settings give it."
    )


class EvaluationResolved(Resolved):
    """What an evaluation refers to."""

    seeds: tuple[str, ...] = Field(
        (), description="Directories of the dictionaries with other seeds, sorted."
    )
    shuffled: tuple[str, ...] = Field(
        (), description="Directories of two dictionaries of shuffled vectors, if any."
    )
    masks: MasksResolved | None = Field(None, description="The masks, if any.")
    vocabulary: str | None = Field(None, description="SHA-256 of the vocabulary, if any.")
