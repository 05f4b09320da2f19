"""The different texts of a label, and what may be wrong with them."""

import re
import unicodedata

import pyarrow
import pyarrow.compute

MOST_KINDS = 10_000
"""Most different labels to count."""
WHOLE_NUMBER = re.compile(r"^(-?\d+)\.0+$")


class Kinds:
    """Counts the different labels of a column, up to `MOST_KINDS`."""

    def __init__(self) -> None:
        self.texts: set[str] = set()
        self.n = 0
        """How many labels were looked at."""

    def add(self, labels: pyarrow.Array) -> None:
        """Look at more labels."""
        if len(self.texts) <= MOST_KINDS:
            self.texts.update(pyarrow.compute.unique(labels.drop_null()).to_pylist())
            self.n += len(labels) - labels.null_count

    def doubts(self) -> list[str]:
        """What may be wrong with these labels, a line each."""
        return [doubt for doubt in (self._useless(), self._alike()) if doubt]

    def _useless(self) -> str | None:
        """Why they tell nothing about latents; None if nothing speaks against them."""
        if self.n < 2:
            return None
        if len(self.texts) == 1:
            return f"all {self.n:,} are {min(self.texts)!r}, so they tell no images apart"
        if len(self.texts) == self.n:
            first = sorted(self.texts)[:2]
            return (
                f"no two of {self.n:,} are equal ({first[0]!r}, {first[1]!r}, …), so no images "
                f"share one. Make groups of them, such as the years of dates"
            )
        return None

    def _alike(self) -> str | None:
        """Which labels differ only in what readers don't see as a difference."""
        spellings: dict[str, list[str]] = {}
        for text in self.texts:
            spellings.setdefault(_essence(text), []).append(text)
        groups = sorted(sorted(texts) for texts in spellings.values() if len(texts) > 1)
        if not groups:
            return None
        first, second = (ascii(text) for text in groups[0][:2])
        return (
            f"{first} and {second} count as different labels"
            + (f", and so do {len(groups) - 1:,} more groups of such texts" if groups[1:] else "")
            + ". If they mean the same, write them in the same way"
        )


def _essence(text: str) -> str:
    """A text without what readers overlook: case, kinds of spaces, and how accents are written.

    A number such as 1.0 loses the zeros that a spreadsheet adds.
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    text = "".join(one for one in text if unicodedata.category(one) != "Cf")
    text = WHOLE_NUMBER.sub(r"\1", text)
    return " ".join(text.split())
