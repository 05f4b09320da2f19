"""How to run trainings. No digest includes these settings, because they can't change a result."""

from pydantic import Field

from saev.settings.component import Settings


class TrainSettings(Settings):
    """How to run trainings. These settings change no result."""

    together: bool = Field(
        False,
        description="Train all dictionaries that see the same batches in one pass over the "
        "activations. Their weights are all in memory at once.",
    )
