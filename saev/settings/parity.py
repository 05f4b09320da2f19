"""Settings of `saev parity`: the small set that it works on, and what counts as the same."""

from pydantic import Field

from saev.settings.component import Settings


class ParitySettings(Settings):
    """How `saev parity` compares two revisions. These settings change no result."""

    n_images: int = Field(
        300,
        ge=16,
        description="Number of images to compare on, at even distances in the listing. 300 give "
        "two shards, and a last batch that isn't full.",
    )
    steps: int = Field(100, ge=10, description="Length of the trainings that are compared.")
    rounding: float = Field(
        1e-4,
        gt=0,
        lt=0.1,
        description="Largest relative difference that counts as rounding, of numbers in 32 bits. "
        "Activations that are stored in 16 bits may differ by their last bit.",
    )
    trained: float = Field(
        1e-3,
        gt=0,
        lt=0.1,
        description="Largest relative difference of trained weights that counts as rounding, as "
        "steps amplify it.",
    )
    noise: float = Field(
        2.0,
        gt=0,
        description="A training is within the noise of seeds if its metrics are no farther from "
        "the old ones than this many times the distance of another seed.",
    )
