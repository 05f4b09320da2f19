"""Settings of the `train` stage: a class for each architecture, told apart by `architecture`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from saev.settings.base import Settings
from saev.settings.vit import Tokens


class SaeSettings(Settings):
    """What every architecture shares."""

    layer: int | None = Field(
        None, description="Block of the tower, one of the layers recorded; none for pooled tokens."
    )
    tokens: Tokens = Field(description="Which recorded tokens to train on.")
    n_latents: int = Field(gt=0, description="Size of the dictionary.")
    normalisation: Literal["none", "centred", "unit_norm", "per_dimension"] = Field(
        "none",
        description="Of the input, kept in the checkpoint: subtract the mean; divide by the mean norm; "
        "or bring every dimension to mean 0 and standard deviation 1.",
    )
    batch_size: int = Field(gt=0, description="Vectors in a step.")
    processes: int = Field(
        1,
        gt=0,
        description="Processes that share every batch, each on a GPU of its own where there are GPUs. They change "
        "the rounding of sums.",
    )
    epochs: float = Field(gt=0, description="Passes over the training vectors; may be a fraction.")
    lr: float = Field(gt=0, description="Learning rate of Adam.")
    warmup_steps: int = Field(0, ge=0, description="Steps over which the rate rises from 0.")
    schedule: Literal["constant", "cosine", "linear"] = Field(
        "constant",
        description="The rate after the warm-up: constant, or falling along half a cosine or a line.",
    )
    decay_from: float = Field(
        0.0, ge=0, lt=1, description="Share of the planned steps after which the rate falls."
    )
    lr_end: float = Field(
        0.0, ge=0, lt=1, description="Share of `lr` that the rate has fallen to at the end."
    )
    clip_norm: float | None = Field(
        None,
        gt=0,
        description="Longest gradient (norm over all weights); longer ones are shortened.",
    )
    seed: int = Field(0, ge=0, description="Seed of the weights, of the order and of the split.")
    held_out: float = Field(
        0.0, ge=0, lt=1, description="Share of the images that training never sees."
    )
    init_rows: int = Field(
        16384, gt=0, description="Training vectors whose mean starts the decoder's bias."
    )
    b_dec_init: Literal["mean", "geometric_median"] = Field(
        "mean", description="What of the `init_rows` vectors the decoder's bias starts at."
    )
    init: Literal["tied", "data"] = Field(
        "tied",
        description="Decoder rows start as random directions, or as directions of training vectors; "
        "the encoder reads the same ones.",
    )
    resample_every: int | None = Field(
        None,
        gt=0,
        description="Training vectors between two re-initialisations of the dead latents from poorly "
        "reconstructed vectors.",
    )
    resample_until: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Share of the planned steps after which none is re-initialised.",
    )
    patience: int | None = Field(
        None,
        gt=0,
        description="Evaluations without a better held-out nmse after which training stops.",
    )
    min_improvement: float = Field(
        0.0, ge=0, lt=1, description="Share of the best nmse by which a better one is lower."
    )
    log_every: int = Field(50, gt=0, description="Steps between two lines of train.jsonl.")
    eval_every: int = Field(
        500, gt=0, description="Steps between two evaluations on held-out images."
    )

    @model_validator(mode="after")
    def _layer_fits_tokens(self) -> Self:
        if (self.layer is None) != (self.tokens == "pooled"):
            raise ValueError(
                "tokens: pooled takes no layer"
                if self.tokens == "pooled"
                else f"tokens: {self.tokens} needs a layer"
            )
        return self

    @model_validator(mode="after")
    def _shares_are_equal(self) -> Self:
        if self.batch_size % self.processes:
            raise ValueError(
                f"processes: batch_size: {self.batch_size} can't be shared by {self.processes}; allowed: "
                f"divisors of it"
            )
        return self

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        if self.schedule == "constant":
            for key in ("decay_from", "lr_end"):
                if getattr(self, key):
                    raise ValueError(
                        f"{key}: {getattr(self, key)} needs schedule: cosine or linear, not constant; "
                        f"allowed: 0"
                    )
        if self.resample_every is None and self.resample_until != 0.5:
            raise ValueError(
                f"resample_until: {self.resample_until} needs resample_every; allowed: leave it out"
            )
        if self.patience is None and self.min_improvement:
            raise ValueError(f"min_improvement: {self.min_improvement} needs patience; allowed: 0")
        if self.patience is not None and not self.held_out:
            raise ValueError(
                f"patience: {self.patience} needs held-out images, but held_out: 0; allowed: leave "
                f"patience out, or give held_out a share above 0"
            )
        return self


class AuxSettings(SaeSettings):
    """What architectures share that revive dead latents with an auxiliary loss (AuxK)."""

    aux_k: int = Field(0, ge=0, description="Dead latents that model the residual; 0 is none.")
    aux_coefficient: float = Field(0.0, ge=0, description="Weight of the auxiliary loss.")
    dead_after: int = Field(
        100_000, gt=0, description="Training vectors without firing after which a latent is dead."
    )

    @model_validator(mode="after")
    def _aux(self) -> Self:
        if self.aux_k > self.n_latents:
            raise ValueError(f"aux_k: {self.aux_k} is larger than n_latents: {self.n_latents}")
        if (self.aux_k > 0) != (self.aux_coefficient > 0):
            raise ValueError("aux_k and aux_coefficient go together: both 0, or both positive")
        return self


class SelectingSettings(AuxSettings):
    """What architectures share that select k latents."""

    k: int = Field(gt=0, description="Latents of a vector that may be active at once.")

    @model_validator(mode="after")
    def _k(self) -> Self:
        if self.k > self.n_latents:
            raise ValueError(f"k: {self.k} is larger than n_latents: {self.n_latents}")
        return self


class TopKSettings(SelectingSettings):
    """The k largest of each vector."""

    architecture: Literal["topk"]


class BatchTopKSettings(SelectingSettings):
    """The k largest of each vector on average over a batch; a threshold, learned meanwhile, afterwards."""

    architecture: Literal["batchtopk"]
    k: int = Field(gt=0, description="Latents of a vector that are active on average.")


class MatryoshkaSettings(SelectingSettings):
    """Nested dictionaries: the first latents of the dictionary are dictionaries of their own."""

    architecture: Literal["matryoshka"]
    widths: tuple[int, ...] = Field(
        min_length=2,
        description="Sizes of the nested dictionaries, ascending; the last is n_latents.",
    )
    over: Literal["batchtopk", "topk"] = Field(
        "batchtopk", description="As what each of them selects its latents."
    )

    @model_validator(mode="after")
    def _nested(self) -> Self:
        widths = list(self.widths)
        if widths != sorted(set(widths)) or widths[0] < 1:
            raise ValueError(f"widths: {widths} must ascend from 1 or more, each once")
        if widths[-1] != self.n_latents:
            raise ValueError(f"widths: the last, {widths[-1]}, must be n_latents: {self.n_latents}")
        if widths[0] < self.k:
            raise ValueError(f"widths: the first, {widths[0]}, is smaller than k: {self.k}")
        return self


class ArchetypalSettings(SelectingSettings):
    """TopK whose decoder rows are mixtures of data points, for dictionaries that are stable over seeds."""

    architecture: Literal["archetypal"]
    n_points: int = Field(gt=0, description="Training vectors that are mixed.")
    relaxation: float = Field(
        0.0, ge=0, description="How far a row may lie from a mixture of points, which have norm 1."
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
    """A threshold for each latent, learned with a penalty on the number of active latents."""

    architecture: Literal["jumprelu"]
    sparsity: float = Field(ge=0, description="Weight of the penalty.")
    sparsity_warmup_steps: int = Field(
        0, ge=0, description="Steps over which the penalty rises from 0."
    )
    l0_target: float | None = Field(
        None,
        gt=0,
        description="Active latents of a vector to aim at: the penalty is then (L0 / target - 1)². "
        "Without it, the penalty is L0.",
    )
    bandwidth: float = Field(
        0.001, gt=0, description="Width of the window from which thresholds learn."
    )
    initial_threshold: Annotated[float, Field(gt=0)] | Literal["data"] = Field(
        0.001,
        description="Threshold at the start; `data` is what `l0_target` latents of a vector exceed then.",
    )

    threshold_rate: float = Field(
        1.0,
        gt=0,
        description="By what `lr` is multiplied for thresholds, which change by about that share in a step.",
    )

    @model_validator(mode="after")
    def _target(self) -> Self:
        if self.l0_target is None and self.initial_threshold == "data":
            raise ValueError(
                "initial_threshold: data needs l0_target; allowed: a number above 0, or an l0_target"
            )
        if self.l0_target is not None and self.l0_target > self.n_latents:
            raise ValueError(
                f"l0_target: {self.l0_target:g} is larger than n_latents: {self.n_latents}"
            )
        if self.sparsity_warmup_steps and not self.sparsity:
            raise ValueError(
                f"sparsity_warmup_steps: {self.sparsity_warmup_steps} needs a sparsity above 0; allowed: 0"
            )
        return self


class ReluSettings(AuxSettings):
    """ReLU with an L1 penalty."""

    architecture: Literal["relu"]
    l1: float = Field(ge=0, description="Weight of the L1 penalty.")
    l1_warmup_steps: int = Field(0, ge=0, description="Steps over which the penalty rises from 0.")
    mse_over_norm: bool = Field(
        False, description="Divide each vector's squared error by its norm, as in 2024."
    )
    ghost_gradients: bool = Field(
        False, description="Let dead latents learn from the residual (ghost gradients)."
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
        if self.ghost_gradients and self.processes > 1:
            raise ValueError(
                f"processes: ghost_gradients look at a whole batch, but {self.processes} share it; take aux_k"
            )
        if self.ghost_gradients and self.aux_k:
            raise ValueError(
                "ghost_gradients and aux_k are two remedies for dead latents: take one"
            )
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
SAE_SETTINGS: dict[str, type[SaeSettings]] = {
    "topk": TopKSettings,
    "batchtopk": BatchTopKSettings,
    "matryoshka": MatryoshkaSettings,
    "archetypal": ArchetypalSettings,
    "jumprelu": JumpReluSettings,
    "relu": ReluSettings,
}
"""By architecture."""
