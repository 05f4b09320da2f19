"""Doubts about what the model saw: images nearly black, cut off or transparent, files of pages."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

DEPTH = "depth"
"""Key of a record with the `Depth` of its image. It isn't written to `images.parquet`."""
SEVERAL = "several"
"""The same for an image of whose file only the first page or frame was taken."""
HIDDEN = "hidden"
"""The same for an image that is transparent throughout."""
DARK = 0.25
"""An image that reaches at most this share of white is nearly black: it has 14 bits or fewer."""


class Depths(NamedTuple):
    """Counts of the images of more than 8 bits, and of those in files with several."""

    gray: int = 0
    gray_dark: int = 0
    """Of these, how many reach at most `DARK` of white."""
    gray_largest: float = 0.0
    """Largest value in those."""
    colour: int = 0
    colour_dark: int = 0
    cut: int = 0
    """Gray ones with values beyond `gray_range`."""
    cut_largest: float = 0.0
    several: int = 0
    """Images in files with more pages or frames."""
    hidden: int = 0
    """Images that are transparent throughout."""

    def doubts(self, gray_range: tuple[float, float] | None) -> list[str]:
        """What should be said about them, a line each."""
        found = []
        if self.gray_dark:
            black, white = gray_range or ((0, 1) if self.gray_largest <= DARK else (0, 65535))
            found.append(
                f"{self.gray_dark:,} of {self.gray:,} gray images of more than 8 bits look nearly "
                f"black: their largest value is {self.gray_largest:,g}, and white is {white:,g}. "
                f"If this isn't right, set gray_range of the images, such as "
                f"[{black:g}, {_white(self.gray_largest):g}]"
            )
        if self.colour_dark:
            found.append(
                f"{self.colour_dark:,} of {self.colour:,} colour images of 16 bits look nearly "
                f"black: they reach less than a quarter of white. If this isn't right, convert "
                f"them to 8 bits (gray_range is only for gray)"
            )
        if self.cut and gray_range:
            found.append(
                f"{self.cut:,} of {self.gray:,} gray images of more than 8 bits have values beyond "
                f"gray_range, up to {self.cut_largest:,g}: the tower sees these as white"
            )
        if self.several:
            found.append(
                f"{self.several:,} images are in files of several pages or frames, of which only "
                f"the first was taken: to have them all, write each into a file of its own"
            )
        if self.hidden:
            found.append(
                f"{self.hidden:,} images are transparent throughout, so the tower sees only white. "
                f"If this isn't right, save them without the alpha channel"
            )
        return found


def depths_of(records: Sequence[dict[str, Any]]) -> Depths:
    """Count the images of some records."""
    deep = [_one(*record[DEPTH]) for record in records if record.get(DEPTH)]
    counts = {kind: sum(kind in record for record in records) for kind in (SEVERAL, HIDDEN)}
    return merged([*deep, Depths(**counts)])


def merged(parts: Iterable[Depths]) -> Depths:
    """Counts of all parts together."""
    columns = dict(zip(Depths._fields, zip(Depths(), *parts, strict=True), strict=True))
    totals: dict[str, Any] = {k: max(v) if "largest" in k else sum(v) for k, v in columns.items()}
    return Depths(**totals)


def _one(colour: bool, largest: float, white: float) -> Depths:
    dark = white <= DARK
    if colour:
        return Depths(colour=1, colour_dark=int(dark))
    cut = white > 1
    return Depths(1, int(dark), largest * dark, 0, 0, int(cut), largest * cut)


def _white(largest: float) -> float:
    """The white that a largest value suggests: that of so many bits, or itself for fractions."""
    return 2.0 ** int(largest).bit_length() - 1 if largest > 1 else largest
