"""Settings of dictionaries from elsewhere, which the `train` stage converts instead of training."""

import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from saev.settings.component import Settings
from saev.settings.paths import AtHome
from saev.settings.sae import SAE_SETTINGS, AnySaeSettings
from saev.settings.sae_base import SaeResolved
from saev.settings.vit import Tokens

HUB = "hf://"
"""What a file or folder on the Hugging Face hub begins with."""
ON_HUB = re.compile(rf"{HUB}([^/@\s]+/[^/@\s]+)(?:/([^@\s]+?))?/?@([^@\s]+)")
"""``hf://owner/repo/path@revision``: repository, path, revision."""
CHECKPOINT, TRAINED = "checkpoint", "trained"
"""The key that tells such an entry from one that is trained here, and the tag of the latter."""


class ElsewhereSettings(Settings):
    """A dictionary that another library or project has trained. It is converted, not trained: see
    [dictionaries.md](dictionaries.md#dictionaries-from-elsewhere)."""

    batch_size: ClassVar[int] = 1
    processes: ClassVar[int] = 1
    """No step is taken, so any number of images will do."""

    checkpoint: AtHome = Field(
        min_length=1,
        description="The file or folder, or `hf://owner/repo/path@revision` for one on the Hugging "
        "Face hub. The name of the result depends on what the files hold, not on where they lie.",
    )
    layer: int | None = Field(
        None,
        description="Block of the tower that it was trained on: one of the recorded layers. Leave "
        "it out for pooled tokens.",
    )
    tokens: Tokens = Field(description="Which of the recorded tokens it was trained on.")
    selects: Literal["relu", "topk", "jumprelu"] | None = Field(
        None,
        description="How it chooses active latents. Needed only for overcomplete's files, which "
        "don't say it.",
    )
    k: int | None = Field(
        None, gt=0, description="Number of active latents per vector, with `selects: topk`."
    )
    seed: int = Field(0, ge=0, description="Seed of the choice of held-out images.")
    held_out: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Fraction of the images whose figures are shown apart. With the `seed` and "
        "`held_out` of a dictionary trained here, both are judged on the same images.",
    )
    held_out_by: str | None = Field(
        None,
        description="A label of the run's analysis. Images with the same label are all held out, "
        "or none is.",
    )

    @field_validator("checkpoint")
    @classmethod
    def _on_hub(cls, checkpoint: str) -> str:
        if checkpoint.startswith(HUB) and not ON_HUB.fullmatch(checkpoint):
            raise ValueError(
                f"{checkpoint!r}: write {HUB}owner/repo@revision or {HUB}owner/repo/path@revision; "
                f"a revision is a commit, a tag or a branch, such as main"
            )
        return checkpoint

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.layer is None) != (self.tokens == "pooled"):
            raise ValueError(
                "tokens: pooled takes no layer"
                if self.tokens == "pooled"
                else f"tokens: {self.tokens} needs a layer"
            )
        if (self.selects == "topk") != (self.k is not None):
            raise ValueError("selects: topk and k go together: give both, or neither")
        if self.held_out_by is not None and not self.held_out:
            raise ValueError(
                f"held_out_by: {self.held_out_by} needs held-out images, but held_out: 0; allowed: "
                f"leave held_out_by out, or give held_out a share above 0"
            )
        return self


class ElsewhereResolved(SaeResolved):
    """What the plan found for a dictionary from elsewhere."""

    checkpoint: dict[str, str] = Field(
        {}, description="SHA-256 of each of its files, which replaces their place in the digest."
    )


class ConvertedSettings(Settings):
    """What the checkpoint of a converted dictionary says of it."""

    telling: ClassVar[tuple[str, ...]] = ("k",)

    architecture: Literal["converted"]
    format: str = Field(description="Whose format it had.")
    trained_as: str = Field(description="The architecture, as that format calls it.")
    files: dict[str, str] = Field(description="SHA-256 of each file that it was read from.")
    layer: int | None = None
    tokens: Tokens
    n_latents: int = Field(gt=0, lt=2**31)
    k: int | None = Field(
        None, gt=0, description="Largest number of active latents; None if thresholds choose them."
    )
    normalisation: Literal["own"] = Field("own", description="That of the file.")
    seed: int = 0
    held_out: float = 0.0
    held_out_by: str | None = None

    def in_short(self) -> dict[str, Any]:
        """The fields in `telling` that are set, by name."""
        return {} if self.k is None else {"k": self.k}


ENTRIES: tuple[type[Settings], ...] = (*SAE_SETTINGS.values(), ElsewhereSettings)
"""The classes that an entry of `sae` can have."""
KEPT_SETTINGS: dict[str, type[Any]] = {**SAE_SETTINGS, "converted": ConvertedSettings}
"""Settings class by architecture of all that a checkpoint can hold."""


def _made_how(entry: Any) -> str:
    given = entry if isinstance(entry, dict) else {}
    found = isinstance(entry, ElsewhereSettings) or CHECKPOINT in given
    return CHECKPOINT if found else TRAINED


AnySaeEntry = Annotated[
    Annotated[AnySaeSettings, Tag(TRAINED)] | Annotated[ElsewhereSettings, Tag(CHECKPOINT)],
    Discriminator(_made_how),
]
"""An entry of `sae`: a dictionary to train, or one from elsewhere."""
