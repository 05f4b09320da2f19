"""What a comparison of two results of a stage says."""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any


class Level(IntEnum):
    """How far two results are apart."""

    BIT_EQUAL = 0
    ROUNDING = 1
    NOISE = 2
    UNKNOWN = 3
    DIFFERENT = 4

    @property
    def words(self) -> str:
        """The level in words."""
        return WORDS[self]


WORDS = {
    Level.BIT_EQUAL: "bit-equal",
    Level.ROUNDING: "equal within rounding",
    Level.NOISE: "equal within seed noise",
    Level.DIFFERENT: "different",
    Level.UNKNOWN: "could not tell",
}


@dataclass(frozen=True)
class Verdict:
    """A level, and what it rests on."""

    level: Level
    texts: tuple[str, ...] = ()
    """What differs, the most telling first; empty if nothing does."""
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        """Whether the results agree but for rounding."""
        return self.level <= Level.ROUNDING

    @property
    def text(self) -> str:
        """The most telling difference."""
        return self.texts[0] if self.texts else self.level.words


def worst(verdicts: list[Verdict]) -> Verdict:
    """The verdict on a whole, from those on its parts."""
    ranked = sorted(verdicts, key=lambda one: -one.level)
    return Verdict(
        ranked[0].level if ranked else Level.BIT_EQUAL,
        tuple(text for one in ranked for text in one.texts),
        {k: v for one in ranked for k, v in one.figures.items()},
    )
