"""Settings of how trainings are run. They are in no digest: they can't change a result."""

from pydantic import Field

from saev.settings.base import Settings


class TrainSettings(Settings):
    """How dictionaries are trained, not which."""

    together: bool = Field(
        False,
        description="Train dictionaries that see the same batches in one pass over the activations; the "
        "weights of all are in memory at once.",
    )
