"""Settings of the `compare` stage: a curve that a training should follow."""

from pydantic import Field, PositiveFloat

from saev.settings.component import Resolved, Settings
from saev.settings.paths import AtHome


class ReferenceSettings(Settings):
    """The `train.jsonl` of another training, and how closely a training should match it."""

    curve: AtHome = Field(
        description="A `train.jsonl` of another training. Other code may have written it, in the "
        "same format."
    )
    sha256: str | None = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description="SHA-256 of the curve. Needed if the curve isn't here yet.",
    )
    tolerance: dict[str, PositiveFloat] = Field(
        min_length=1,
        description="Largest allowed difference for each metric (`nmse`, `loss`, `eval_nmse` …), "
        "as a fraction of the reference's value.",
    )
    from_step: int = Field(0, ge=0, description="First step to compare.")


class ReferenceResolved(Resolved):
    """The curve of a reference."""

    sha256: str | None = Field(
        None, description="SHA-256 of the curve, unless the settings give it."
    )
