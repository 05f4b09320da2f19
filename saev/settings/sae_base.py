"""Settings of the `train` stage that several architectures share."""

from typing import Any, ClassVar, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from saev.settings.component import Resolved, Settings
from saev.settings.vit import Tokens


class SaeSettings(Settings):
    """Settings of every architecture."""

    product_widths: ClassVar[tuple[str, ...]] = ("n_latents",)
    """Fields that are widths of matrix products."""
    telling: ClassVar[tuple[str, ...]] = ()
    """Fields that say most about a dictionary of this architecture, besides its size."""

    architecture: str
    layer: int | None = Field(
        None,
        description="Block of the tower: one of the recorded layers. Leave it out for pooled "
        "tokens.",
    )
    tokens: Tokens = Field(description="Which of the recorded tokens to train on.")
    n_latents: int = Field(gt=0, lt=2**31, description="Number of latents.")
    normalisation: Literal["none", "centred", "unit_norm", "per_dimension"] = Field(
        "none",
        description="How to normalise vectors: not at all (`none`), subtract the mean (`centred`), "
        "divide by the mean norm (`unit_norm`), or bring every dimension to mean 0 and standard "
        "deviation 1 (`per_dimension`). The checkpoint keeps this.",
    )
    batch_size: int = Field(gt=0, description="Vectors per step.")
    processes: int = Field(
        1,
        gt=0,
        description="Number of processes that divide the latents. On a machine with GPUs, each has "
        "its own GPU. The number changes the rounding of sums.",
    )
    epochs: float = Field(gt=0, description="Passes over the training vectors. Can be a fraction.")
    lr: float = Field(gt=0, description="Learning rate of Adam.")
    warmup_steps: int = Field(
        0, ge=0, description="Steps over which the learning rate rises from 0."
    )
    schedule: Literal["constant", "cosine", "linear"] = Field(
        "constant",
        description="Learning rate after the warm-up: constant, or falling along half a cosine or "
        "a line.",
    )
    decay_from: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Fraction of the planned steps after which the learning rate starts to fall.",
    )
    lr_end: float = Field(
        0.0, ge=0, lt=1, description="Final learning rate, as a fraction of `lr`."
    )
    clip_norm: float | None = Field(
        None,
        gt=0,
        description="Maximum global gradient norm. Larger gradients are clipped.",
    )
    seed: int = Field(
        0,
        ge=0,
        description="Seed of the order of the data, the split into training and held-out images, "
        "and, without `init_seed`, the initial weights.",
    )
    init_seed: int | None = Field(
        None,
        ge=0,
        description="Seed of the initial weights alone. Dictionaries that differ in nothing else "
        "see the same data in the same order, so `evaluation` can say how stable their latents "
        "are. Without it, `seed`.",
    )
    shuffled_dimensions: bool = Field(
        False,
        description="Permute each dimension of every batch by itself: a baseline that has the "
        "distributions of the data, and nothing that belongs together. `baselines: "
        "[shuffled_activations]` sets it.",
    )
    held_out: float = Field(
        0.0, ge=0, lt=1, description="Fraction of the images that training never sees."
    )
    held_out_by: str | None = Field(
        None,
        description="A label of the run's analysis, such as the site or the patient. Images with "
        "the same label are all held out or all trained on, so held-out images show what the "
        "dictionary does at a new site.",
    )
    init_rows: int = Field(
        16384, gt=0, description="Number of training vectors that set the initial decoder bias."
    )
    b_dec_init: Literal["mean", "geometric_median"] = Field(
        "mean",
        description="Initial decoder bias: the mean or the geometric median of `init_rows` "
        "vectors.",
    )
    init: Literal["tied", "data"] = Field(
        "tied",
        description="Initial decoder rows: random directions (`tied`), or directions of training "
        "vectors (`data`). The encoder starts in the same directions.",
    )
    dead_after: int = Field(
        100_000,
        gt=0,
        description="A latent counts as dead after this many training vectors without firing.",
    )
    resample_every: int | None = Field(
        None,
        gt=0,
        description="Training vectors between two resamplings. Resampling restarts dead latents at "
        "poorly reconstructed vectors.",
    )
    resample_until: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Fraction of the planned steps after which resampling stops.",
    )
    patience: int | None = Field(
        None,
        gt=0,
        description="Stop after this many looks at the held-out images in a row without a better "
        "nmse.",
    )
    min_improvement: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="A held-out nmse counts as better only if it is lower by more than this "
        "fraction of the best one.",
    )
    log_every: int = Field(50, gt=0, description="Steps between two lines of `train.jsonl`.")
    eval_every: int = Field(
        500, gt=0, description="Steps between two looks at the held-out images."
    )

    def loose(self) -> dict[str, Any]:
        """See `Settings.loose`. `log_every` and `eval_every` count only for an early stop."""
        watched = ("log_every", "eval_every") if self.patience is None else ()
        return {**super().loose(), **self._beyond_neutral(watched)}

    def essential(self) -> dict[str, Any]:
        """See `Settings.essential`."""
        return {k: v for k, v in super().essential().items() if k not in self.loose()}

    @model_serializer(mode="wrap")
    def _without_later_ones(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what came after the first checkpoints and is neutral, so that it changes no
        byte of them. An `init_seed` that equals `seed` is neutral."""
        values: dict[str, Any] = serialise(self)
        if self.weights_seed == self.seed:
            values.pop("init_seed", None)
        if not self.shuffled_dimensions:
            values.pop("shuffled_dimensions", None)
        return values

    @property
    def weights_seed(self) -> int:
        """Seed of the initial weights."""
        return self.seed if self.init_seed is None else self.init_seed

    def in_short(self) -> dict[str, Any]:
        """The fields in `telling` that are set, by name."""
        values = self.model_dump(mode="json", include=set(self.telling), exclude_none=True)
        return {name: values[name] for name in self.telling if name in values}

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
        for name in ("batch_size", "n_latents"):
            if getattr(self, name) % self.processes:
                raise ValueError(
                    f"processes: {name}: {getattr(self, name)} can't be divided by "
                    f"{self.processes}; allowed: divisors of batch_size and n_latents"
                )
        return self

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        if self.schedule == "constant":
            for key in ("decay_from", "lr_end"):
                if getattr(self, key):
                    raise ValueError(
                        f"{key}: {getattr(self, key)} needs schedule: cosine or linear, not "
                        f"constant; allowed: 0"
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
        if self.held_out_by is not None and not self.held_out:
            raise ValueError(
                f"held_out_by: {self.held_out_by} needs held-out images, but held_out: 0; allowed: "
                f"leave held_out_by out, or give held_out a share above 0"
            )
        return self


class SaeResolved(Resolved):
    """What the plan found for a training."""

    groups: str | None = Field(
        None,
        description="SHA-256 of the list of images that `held_out_by` keeps together.",
    )


class AuxSettings(SaeSettings):
    """Settings of architectures that can revive dead latents with an auxiliary loss (AuxK)."""

    aux_k: int = Field(
        0,
        ge=0,
        description="Number of dead latents that model the residual (AuxK). 0 turns AuxK off.",
    )
    aux_coefficient: float = Field(0.0, ge=0, description="Weight of the auxiliary loss (AuxK).")

    @model_validator(mode="after")
    def _aux(self) -> Self:
        if self.aux_k > self.n_latents:
            raise ValueError(f"aux_k: {self.aux_k} is larger than n_latents: {self.n_latents}")
        if (self.aux_k > 0) != (self.aux_coefficient > 0):
            raise ValueError("aux_k and aux_coefficient go together: both 0, or both positive")
        return self


class SelectingSettings(AuxSettings):
    """Settings of architectures that select k latents."""

    telling: ClassVar[tuple[str, ...]] = ("k",)

    k: int = Field(
        gt=0,
        description="Number of active latents per vector: the maximum for `topk`, the average for "
        "`batchtopk`.",
    )

    @model_validator(mode="after")
    def _k(self) -> Self:
        if self.k > self.n_latents:
            raise ValueError(f"k: {self.k} is larger than n_latents: {self.n_latents}")
        return self
