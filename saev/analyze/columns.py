"""Which figures of a latent the page shows, and where: in menus, on cards and tiles, in filters.

To show a new figure, compute it as a column of `latents.parquet`, add a row to `COLUMNS`, and add
its name in each place that should show it.
"""

from dataclasses import dataclass
from typing import Literal

Format = Literal["chance", "count", "number", "percent", "share", "text"]
"""How it is written: 0.12 or < 0.01; 1,234; 1.23; 12 % (from a share, 0 to 1); 0.12; unchanged."""


@dataclass(frozen=True)
class Column:
    """A column of `latents.parquet`."""

    name: str
    """Its name. If it is `of_label`, there is a ``name.label`` for each label."""
    title: str
    """Its title in the menu for sorting."""
    format: Format
    meaning: str
    """What the figure means, for a tooltip. Empty if the title says it."""
    of_label: bool = False
    """Whether there is one for each label."""
    rising: bool = False
    """Whether sorting by it starts with the smallest value."""


@dataclass(frozen=True)
class Shown:
    """A figure in one place of the page."""

    column: str
    """Name of its column. The reader chooses the label."""
    title: str
    """Its title in this place, which may be narrow."""
    note: str = ""
    """Small print on a tile. On a card, a tooltip that replaces the meaning. ``{name}`` stands for
    the latent's figure of that name or, if there is none, for that of the whole analysis."""


@dataclass(frozen=True)
class Filter:
    """A bound on a column, which the reader sets. Neighbours with the same title share a field."""

    key: str
    """Its name in the page's address."""
    column: str
    bound: Literal["least", "most"]
    title: str
    meaning: str
    """What it compares, for a tooltip."""
    spoken: str
    """What a screen reader calls it."""
    usual: float
    """The bound as long as the reader sets none."""
    percent_of: Literal["n_vectors"] | None = None
    """The figure of the whole analysis that is 100 %. None if the bound has the column's unit."""
    step: float | None = None
    """By how much an arrow key changes it. None if any number is allowed."""
    highest: float | None = None


NAMED_BELOW = 0.01
"""A latent is named after the most common label of its top images if its `label_chance` is below
this."""

_OF_TOP = "share of the most common label among its top images"
_TOP = "most common among its top images"
_OF_ALL = "share of the most common label among all images on which it fires"
_ENTROPY = "over all images on which it fires: 0 is a single label, 1 is all labels equally often"
_SUPPORT = "images with a label on which it fires"
_CHANCE = (
    "probability at most with which shuffled labels give a label such a share of the top images"
)
_COMMON = "most common among all images on which it fires"
_RATE = "share of the vectors on which it fires"

COLUMNS = (
    Column("label_purity_top", "purity", "share", _OF_TOP, of_label=True),
    Column("label_purity", "purity of all images", "share", _OF_ALL, of_label=True),
    Column("label_entropy", "entropy", "share", _ENTROPY, of_label=True, rising=True),
    Column("label_support", "images with a label", "count", _SUPPORT, of_label=True),
    Column("top_label", "label of its top images", "text", _TOP, of_label=True),
    Column("common_label", "label of all its images", "text", _COMMON, of_label=True),
    Column("label_chance", "chance", "chance", _CHANCE, of_label=True, rising=True),
    Column("image_count", "images", "count", "images on which it fires"),
    Column("fire_rate", "frequency", "percent", _RATE),
    Column("fire_count", "vectors", "count", "vectors on which it fires"),
    Column("mean_activation", "mean activation", "number", "mean activation, where it fires"),
    Column("max_activation", "largest activation", "number", "largest activation"),
    Column("mean_top_activation", "mean of the top", "number", "mean activation on its top images"),
    Column("latent", "number", "count", "", rising=True),
)

ORDERS = (
    *("label_purity_top", "label_purity", "label_entropy"),
    *("image_count", "fire_rate", "mean_activation", "max_activation", "latent"),
)
"""What latents can be sorted by. The first one that the run has is the default. Those of a label
appear once for each label, before the others."""

CARD = (
    Shown("fire_rate", "freq", "fires on {image_count} images"),
    Shown("mean_activation", "mean"),
    Shown("label_purity_top", "purity"),
    Shown("label_entropy", "entropy"),
)
"""What the card of a latent shows, in a run with labels. Four fit in a line."""

CARD_UNLABELLED = (
    *CARD[:2],
    Shown("image_count", "images"),
    Shown("max_activation", "largest"),
)
"""What the card of a latent shows, in a run without labels."""

TILES = (
    Shown("image_count", "images", "of {n_images}"),
    Shown("fire_rate", "frequency", "of {n_vectors} vectors"),
    Shown("mean_activation", "mean", "activation, where it fires"),
    Shown("max_activation", "largest", "activation"),
)
"""What stands at the top when a latent is open."""

LABEL_TABLE = (
    Shown("top_label", "top images"),
    Shown("label_purity_top", "purity"),
    Shown("label_chance", "chance"),
    Shown("common_label", "all images"),
    Shown("label_purity", "purity"),
)
"""Columns of the table with a line for each label, when a latent is open."""


def filters(labelled: bool, n_images: int) -> tuple[Filter, ...]:
    """The filters of a run.

    Args:
        labelled: whether the run has labels; n_images: how many were analysed.
    """
    # If a latent fires on three images, its purity says little. So hide latents with few images.
    least = min(16, n_images) if labelled else 1
    found = (
        Filter(
            key="min",
            column="image_count",
            bound="least",
            title="Images ≥",
            meaning="images on which it fires; 0 shows dead latents too",
            spoken="Minimum number of images",
            usual=least,
            step=1,
        ),
        Filter(
            key="from",
            column="fire_count",
            bound="least",
            title="Frequency, %",
            meaning=_RATE,
            spoken="Minimum frequency in percent",
            usual=0,
            percent_of="n_vectors",
            highest=100,
        ),
        Filter(
            key="to",
            column="fire_count",
            bound="most",
            title="Frequency, %",
            meaning=_RATE,
            spoken="Maximum frequency in percent",
            usual=100,
            percent_of="n_vectors",
            highest=100,
        ),
    )
    purity = Filter(
        key="pure",
        column="label_purity_top",
        bound="least",
        title="Purity ≥",
        meaning=_OF_TOP,
        spoken="Minimum purity",
        usual=0,
        step=0.05,
        highest=1,
    )
    return (*found, purity) if labelled else found
