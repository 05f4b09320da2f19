"""Settings of the `activations` stage: which tower, which blocks, which tokens."""

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from saev.core.blocks import BLOCK
from saev.settings.component import Resolved, Settings
from saev.settings.paths import AtHome

WEIGHT_FILES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".pth.tar")
"""Extensions of weights files. Any other text is a tag."""

HUB = "hf-hub:"
"""What names of towers on the Hugging Face hub begin with."""
PART = r"(?!.*(\.\.|--))[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"
ON_HUB = re.compile(rf"{HUB}{PART}/{PART}(@[A-Za-z0-9][A-Za-z0-9._/-]*)?")

Tokens = Literal["cls", "patches", "pooled"]


class VitSettings(Settings):
    """A tower (a vision transformer), and what to record from it."""

    model: AtHome = Field(
        min_length=1,
        description="An open_clip name (`ViT-B-16-quickgelu`), `hf-hub:owner/name` (or "
        "`hf-hub:owner/name@commit`), a timm name (`timm/vit_small_patch14_dinov2`), or the path "
        "of a model configuration (.json) of open_clip.",
    )
    weights: AtHome | None = Field(
        None,
        min_length=1,
        description="A tag (`openai`), a file (.safetensors, .pt, .pth, .bin, .ckpt, .pth.tar), or "
        "`random` for an untrained tower. Leave it out for `hf-hub:` names, which come with "
        "weights.",
    )
    like: str | None = Field(
        None,
        min_length=1,
        description="For a weights file of an open_clip or timm model: the tag whose preprocessing "
        "(mean, standard deviation, resize) and activation function the file uses. Needed only if "
        "the model's tags differ in these.",
    )
    weights_sha256: str | None = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description="SHA-256 of the weights file, checked when it is loaded. If you give it, the "
        "file isn't read when the workflow starts, so it may be elsewhere or not there yet.",
    )
    weights_seed: int = Field(0, ge=0, description="Seed of `weights: random`.")
    made: bool = Field(
        False,
        description="Whether a rule of the workflow makes the weights file. The rule writes "
        "`<weights>.json` last.",
    )
    layers: tuple[int, ...] = Field(
        (),
        description="Blocks whose output is recorded, counted from 0; −1 is the last. One pass "
        "records them all.",
    )
    tokens: tuple[Tokens, ...] = Field(
        min_length=1,
        description="Kinds of tokens to record: `cls` (the class token) and `patches`, of each "
        "layer; `pooled`, the tower's output.",
    )
    dtype: Literal["float16", "float32", "bfloat16"] = Field(
        "float16", description="Type in which activations are stored."
    )
    precision: Literal["float32", "tf32", "bfloat16"] = Field(
        "float32",
        description="Number format of the factors in the tower's products. `tf32` and `bfloat16` "
        "round them, which changes the activations: docs/measured.md says how much. Both are for "
        "recent GPUs, where their speed hasn't been measured yet. On a CPU, `tf32` is the same as "
        "`float32`. The residual stream stays in float32.",
    )
    image_size: int | None = Field(
        None, gt=0, description="Side of the input in pixels. Without it, the model's own."
    )
    shard_images: int = Field(
        4096,
        gt=0,
        multiple_of=BLOCK,
        description="Images per shard. A shard is one job, and one file for each stream.",
    )

    @field_validator("model")
    @classmethod
    def _named(cls, model: str) -> str:
        if model.startswith(HUB) and not ON_HUB.fullmatch(model):
            raise ValueError(
                f"{model!r} can't be on the hub: write {HUB}owner/name or {HUB}owner/name@commit, "
                f"with letters (a to z), digits, '-', '_' and '.'"
            )
        return model

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        layered = {"cls", "patches"} & set(self.tokens)
        if layered and not self.layers:
            raise ValueError(f"tokens {sorted(layered)} need layers, such as layers: [-2]")
        if self.layers and not layered:
            raise ValueError("layers are given, but tokens names neither cls nor patches")
        if self.made and self.weights_sha256 is None:
            raise ValueError("made: true needs weights_sha256, because the file may not exist yet")
        if self.like is not None and not (self.weights or "").endswith(WEIGHT_FILES):
            raise ValueError(f"like needs weights that are a file ({', '.join(WEIGHT_FILES)})")
        if self.made and not (self.weights or "").endswith(WEIGHT_FILES):
            raise ValueError(f"made: true needs weights that are a file, not {self.weights}")
        if self.weights_seed and self.weights != "random":
            raise ValueError("weights_seed needs weights: random")
        if self.weights is None and not self.model.startswith(HUB):
            raise ValueError("weights is missing: give a tag, a file or random")
        # The order of layers means nothing, so it must not make a second directory.
        object.__setattr__(self, "layers", tuple(sorted(set(self.layers))))
        object.__setattr__(self, "tokens", tuple(sorted(set(self.tokens))))
        return self


class VitResolved(Resolved):
    """The files that a tower was loaded from."""

    model_sha256: str | None = Field(None, description="SHA-256 of the model's configuration file.")
    weights_sha256: str | None = Field(
        None, description="SHA-256 of the weights file, unless the settings give it."
    )
