"""Settings of the `compare` stage: a curve that a training should follow."""

from pydantic import Field, PositiveFloat

from saev.settings.base import Settings


class ReferenceSettings(Settings):
    """The `train.jsonl` of another training, and how near its figures should be."""

    curve: str = Field(description="A `train.jsonl`: of another run, or of other code in its form.")
    sha256: str | None = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description="SHA-256 of the curve, when it isn't here yet.",
    )
    tolerance: dict[str, PositiveFloat] = Field(
        min_length=1,
        description="By figure (`nmse`, `loss`, `eval_nmse` …): how far it may be off, as a share of the "
        "reference's value.",
    )
    from_step: int = Field(0, ge=0, description="Steps before this one aren't compared.")
