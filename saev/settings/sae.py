"""Settings of the `train` stage: a class for each architecture, told apart by `architecture`."""

from typing import Annotated, ClassVar, Literal, Self, get_args

from pydantic import Field, model_validator

from saev.settings.sae_base import AuxSettings, SaeSettings, SelectingSettings


class TopKSettings(SelectingSettings):
    """Keeps the k largest latents of each vector."""

    architecture: Literal["topk"]


class BatchTopKSettings(SelectingSettings):
    """Keeps the largest latents of a whole batch in training, on average k per vector. Afterwards,
    keeps the latents above a threshold learned in training."""

    architecture: Literal["batchtopk"]
    k: int = Field(gt=0, description="Average number of active latents per vector.")


class MatryoshkaSettings(SelectingSettings):
    """Nested dictionaries: the first latents form smaller dictionaries that work on their own."""

    architecture: Literal["matryoshka"]
    widths: tuple[int, ...] = Field(
        min_length=2,
        description="Sizes of the nested dictionaries, in ascending order. The last is "
        "`n_latents`.",
    )
    over: Literal["batchtopk", "topk"] = Field(
        "batchtopk", description="How each nested dictionary selects its latents."
    )

    @model_validator(mode="after")
    def _nested(self) -> Self:
        widths = list(self.widths)
        if widths != sorted(set(widths)) or widths[0] < 1:
            raise ValueError(f"widths: {widths} must ascend from 1 or more, without duplicates")
        if widths[-1] != self.n_latents:
            raise ValueError(f"widths: the last, {widths[-1]}, must be n_latents: {self.n_latents}")
        if widths[0] < self.k:
            raise ValueError(f"widths: the first, {widths[0]}, is smaller than k: {self.k}")
        if widths[0] < self.processes:
            raise ValueError(
                f"widths: the first, {widths[0]}, is smaller than processes: {self.processes}"
            )
        return self


class ArchetypalSettings(SelectingSettings):
    """TopK whose decoder rows are mixtures of training vectors, which makes them more alike across
    seeds."""

    product_widths: ClassVar[tuple[str, ...]] = ("n_latents", "n_points")

    architecture: Literal["archetypal"]
    n_points: int = Field(gt=0, description="Number of training vectors to mix.")
    relaxation: float = Field(
        0.0,
        ge=0,
        description="How far a decoder row may lie from a mixture of the points, which have norm "
        "1.",
    )

    @model_validator(mode="after")
    def _rows_are_mixtures(self) -> Self:
        if self.init != "tied":
            raise ValueError(
                "init: rows of an archetypal dictionary always start at data; leave it out"
            )
        if self.resample_every is not None:
            raise ValueError(
                "resample_every: rows of an archetypal dictionary can't be set; use aux_k"
            )
        return self


class JumpReluSettings(AuxSettings):
    """Learns a threshold for each latent, with a penalty on the number of active latents."""

    telling: ClassVar[tuple[str, ...]] = ("sparsity", "l0_target")

    architecture: Literal["jumprelu"]
    sparsity: float = Field(ge=0, description="Weight of the sparsity penalty.")
    sparsity_warmup_steps: int = Field(
        0, ge=0, description="Steps over which the penalty rises from 0."
    )
    l0_target: float | None = Field(
        None,
        gt=0,
        description="Target number of active latents per vector. With it, the penalty is (L0 / "
        "target - 1)²; without it, L0.",
    )
    bandwidth: float = Field(
        0.001,
        gt=0,
        description="Width of the window around a threshold. A threshold learns only from the "
        "values in its window.",
    )
    initial_threshold: Annotated[float, Field(gt=0)] | Literal["data"] = Field(
        0.001,
        description="Initial threshold. `data` chooses thresholds so that `l0_target` latents per "
        "vector are active at the start.",
    )

    threshold_rate: float = Field(
        1.0,
        gt=0,
        description="Factor that multiplies `lr` for the thresholds, so that they learn faster "
        "than the weights. In a step, a threshold changes by about `threshold_rate · lr` of its "
        "value.",
    )

    @model_validator(mode="after")
    def _target(self) -> Self:
        if self.l0_target is None and self.initial_threshold == "data":
            raise ValueError(
                "initial_threshold: data needs l0_target; allowed: a number above 0, or an "
                "l0_target"
            )
        if self.l0_target is not None and self.l0_target > self.n_latents:
            raise ValueError(
                f"l0_target: {self.l0_target:g} is larger than n_latents: {self.n_latents}"
            )
        if self.sparsity_warmup_steps and not self.sparsity:
            raise ValueError(
                f"sparsity_warmup_steps: {self.sparsity_warmup_steps} needs a sparsity above 0; "
                f"allowed: 0"
            )
        return self


class ReluSettings(AuxSettings):
    """ReLU with an L1 penalty."""

    telling: ClassVar[tuple[str, ...]] = ("l1",)

    architecture: Literal["relu"]
    l1: float = Field(ge=0, description="Weight of the L1 penalty.")
    l1_warmup_steps: int = Field(0, ge=0, description="Steps over which the penalty rises from 0.")
    mse_over_norm: bool = Field(
        False,
        description="Divide each vector's squared error by its norm (as in the preset "
        "`relu_2024`).",
    )
    ghost_gradients: bool = Field(
        False, description="Revive dead latents with ghost gradients: they learn from the residual."
    )

    @model_validator(mode="after")
    def _something_to_warm_up(self) -> Self:
        if self.l1_warmup_steps and not self.l1:
            raise ValueError(
                f"l1_warmup_steps: {self.l1_warmup_steps} needs an l1 above 0; allowed: 0"
            )
        return self

    @model_validator(mode="after")
    def _one_remedy(self) -> Self:
        if self.ghost_gradients and self.aux_k:
            raise ValueError("ghost_gradients and aux_k both revive dead latents: use only one")
        return self


AnySaeSettings = Annotated[
    TopKSettings
    | BatchTopKSettings
    | MatryoshkaSettings
    | ArchetypalSettings
    | JumpReluSettings
    | ReluSettings,
    Field(discriminator="architecture"),
]
"""Settings of any architecture. To add an architecture, add its class here."""

SAE_SETTINGS: dict[str, type[SaeSettings]] = {
    get_args(cls.model_fields["architecture"].annotation)[0]: cls
    for cls in get_args(get_args(AnySaeSettings)[0])
}
"""Settings class by architecture."""
