"""Settings of the `activations` stage: which tower, which blocks, which tokens."""

from typing import Literal, Self

from pydantic import Field, model_validator

from saev.blocks import BLOCK
from saev.settings.base import Settings

WEIGHT_FILES = (".safetensors", ".pt", ".pth", ".bin")
"""Ends of the names of weights files; anything else is a tag."""

Tokens = Literal["cls", "patches", "pooled"]


class VitSettings(Settings):
    """A vision transformer and what to record of it."""

    model: str = Field(
        min_length=1,
        description="An open_clip name (`ViT-B-16-quickgelu`), `hf-hub:owner/name`, a timm name "
        "(`timm/vit_small_patch14_dinov2`), or the path of an open_clip model configuration (.json).",
    )
    weights: str | None = Field(
        None,
        min_length=1,
        description="A tag (`openai`), a file (.safetensors, .pt), or `random` for an untrained tower. "
        "Leave it out for `hf-hub:` names, which bring their own.",
    )
    like: str | None = Field(
        None,
        min_length=1,
        description="Of a weights file of an open_clip model: the tag whose input (mean, deviation, "
        "resize) and activation function it shares. Needed only where the model's tags differ.",
    )
    weights_sha256: str | None = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description="SHA-256 of the weights file; checked when it is loaded. When it is stated the "
        "file isn't read at parse time, and may be elsewhere or not yet there.",
    )
    weights_seed: int = Field(0, ge=0, description="Seed of `weights: random`.")
    made: bool = Field(
        False,
        description="The weights are made by a rule of the workflow, which writes `<weights>.json` last.",
    )
    layers: tuple[int, ...] = Field(
        (),
        description="Blocks whose output is recorded, counted from 0; −1 is the last. All in one pass.",
    )
    tokens: tuple[Tokens, ...] = Field(
        min_length=1,
        description="`cls` (the class token) and `patches` of each layer; `pooled`, the tower's output.",
    )
    dtype: Literal["float16", "float32", "bfloat16"] = Field(
        "float16", description="Type that activations are stored in."
    )
    image_size: int | None = Field(
        None, gt=0, description="Side of the input in pixels, if not the model's own."
    )
    shard_images: int = Field(
        4096,
        gt=0,
        multiple_of=BLOCK,
        description="Positions of the listing in one file and one job.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        layered = {"cls", "patches"} & set(self.tokens)
        if layered and not self.layers:
            raise ValueError(f"tokens {sorted(layered)} need layers, such as layers: [-2]")
        if self.layers and not layered:
            raise ValueError("layers are given, but tokens names neither cls nor patches")
        if self.made and self.weights_sha256 is None:
            raise ValueError("made: true needs weights_sha256, as the file may not exist yet")
        if self.like is not None and not (self.weights or "").endswith(WEIGHT_FILES):
            raise ValueError(f"like belongs to weights that are a file ({', '.join(WEIGHT_FILES)})")
        if self.made and not (self.weights or "").endswith(WEIGHT_FILES):
            raise ValueError(
                f"made: true belongs to weights that are a file, not to {self.weights}"
            )
        if self.weights_seed and self.weights != "random":
            raise ValueError("weights_seed has no use unless weights is random")
        if self.weights is None and not self.model.startswith("hf-hub:"):
            raise ValueError("weights is missing: a tag, a file, or random")
        # The order in which layers are named means nothing, so it must not make a second directory.
        object.__setattr__(self, "layers", tuple(sorted(set(self.layers))))
        object.__setattr__(self, "tokens", tuple(sorted(set(self.tokens))))
        return self
