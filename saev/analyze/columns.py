"""Which figures of a latent the page shows, and where: in menus, on cards and tiles, in filters.

To show a new figure, compute it as a column of `latents.parquet`, add a row to `COLUMNS`, and add
its name in each place that should show it.
"""

from dataclasses import dataclass
from typing import Literal

Format = Literal["chance", "count", "lift", "number", "percent", "share", "text"]
"""How it is written: 0.12 or < 0.01; 1,234; × 4.5; 1.23; 12 % (from a share, 0 to 1); 0.12;
unchanged."""


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


@dataclass(frozen=True)
class Chip:
    """A button that shows only some latents: those with a figure within bounds."""

    key: str
    """Its name in the page's address."""
    title: str
    meaning: str
    column: str
    least: float
    most: float | None = None
    """None if there is no upper bound."""


_OF_TOP = "share of the most common label among its top images"
_TOP = "most common label of its top images (16 at most)"
_TOP_N = "top images that have this label"
_BASE = "share of all labelled images that have the label of its top images"
_LIFT = (
    "share of the label of its top images among them, divided by its share of all labelled images"
)
_LOW = "lower end of the 95 % interval of the lift (Wilson)"
_TOP_SHARE = "share of the label of its top images among all images on which it fires"
_OF_ALL = "share of the most common label among all images on which it fires"
_ENTROPY = "over all images on which it fires: 0 is a single label, 1 is all labels equally often"
_TOP_ENTROPY = "the same over its top images, each counted by its activation"
_SUPPORT = "images with a label on which it fires"
_CHANCE = (
    "probability at most with which shuffled labels give a label such a share of the top images"
)
_COMMON = "most common label of all images on which it fires"
_RATE = "share of the vectors on which it fires"
_PLACES = "how evenly it fires over the image: 1 is everywhere equally often, 0 is a single place"
_BORDER = "share of its top images whose strongest patch is at the border"
_ORDER = (
    "by lift, by turns over labels: first the best latent of each label, then the second best of "
    "each. Latents without a name, on few images, positional, dense and dead ones come last, in "
    "this order"
)

COLUMNS = (
    Column("order", "lift, labels in turn", "count", _ORDER, of_label=True, rising=True),
    Column("label_lift", "lift", "lift", _LIFT, of_label=True),
    Column("label_lift_low", "lift at least", "lift", _LOW, of_label=True),
    Column("label_purity_top", "purity", "share", _OF_TOP, of_label=True),
    Column("label_purity", "purity of all images", "share", _OF_ALL, of_label=True),
    Column("label_entropy", "entropy", "share", _ENTROPY, of_label=True, rising=True),
    Column("label_entropy_top", "entropy of top images", "share", _TOP_ENTROPY, True, True),
    Column("label_support", "images with a label", "count", _SUPPORT, of_label=True),
    Column("top_label", "label of its top images", "text", _TOP, of_label=True),
    Column("top_label_count", "top images with it", "count", _TOP_N, of_label=True),
    Column("top_label_base", "base rate", "percent", _BASE, of_label=True),
    Column("top_label_share", "share of all its images", "percent", _TOP_SHARE, of_label=True),
    Column("common_label", "label of all its images", "text", _COMMON, of_label=True),
    Column("label_chance", "chance at most", "chance", _CHANCE, of_label=True, rising=True),
    Column("named", "named", "count", "", of_label=True),
    Column("image_count", "images", "count", "images on which it fires"),
    Column("fire_rate", "frequency", "percent", _RATE),
    Column("fire_count", "vectors", "count", "vectors on which it fires"),
    Column("mean_activation", "mean activation", "number", "mean activation, where it fires"),
    Column("max_activation", "largest activation", "number", "largest activation"),
    Column("mean_top_activation", "mean of the top", "number", "mean activation on its top images"),
    Column("n_valid", "top images", "count", "how many top images there are"),
    Column("position_entropy", "spread over places", "share", _PLACES),
    Column("border_share", "border", "percent", _BORDER),
    Column("positional", "positional", "count", ""),
    Column("dense", "dense", "count", ""),
    Column("latent", "number", "count", "", rising=True),
)

_FLAGS = ("named", "positional", "dense")
"""Chips show these alone."""
_SORTABLE = [one for one in COLUMNS if one.format != "text" and one.name not in (*_FLAGS, "latent")]
_OF_LABEL = tuple(one.name for one in _SORTABLE if one.of_label)
_ORDERS = tuple(one.name for one in _SORTABLE if not one.of_label)
ORDERS = (*_OF_LABEL, *_ORDERS, "latent")
"""What latents can be sorted by, in a run with labels. The first one is the default. Those of a
label appear once for each label, before the others."""
ORDERS_UNLABELLED = (*_ORDERS, "latent")
"""The same, in a run without labels."""

CARD = (
    Shown("label_lift", "lift"),
    Shown("image_count", "images"),
    Shown("fire_rate", "frequency", "share of the {n_vectors} vectors on which it fires"),
    Shown("mean_activation", "mean"),
)
"""What the card of a latent shows, in a run with labels. Four fit in a line."""

CARD_UNLABELLED = (
    *CARD[1:],
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
    Shown("label_lift", "lift"),
    Shown("label_lift_low", "at least"),
    Shown("label_chance", "chance ≤"),
)
"""Columns of the table with a line for each label, when a latent is open."""

RARE = 16
"""A latent that fires on fewer images is rare."""


def chips(labelled: bool) -> tuple[Chip, ...]:
    """The chips of a run, beside the one that shows all latents."""
    name = (
        "the lift of the label of its top images lies above 1 (95 % interval), and shuffled labels "
        "hardly ever give a label such a share"
    )
    places = (
        "it fires in few places of the image, whatever is there, or its strongest patch lies at "
        "the border of nearly all top images"
    )
    named = (Chip("named", "Named", name, "named", 1),)
    return (
        *(named if labelled else ()),
        Chip("positional", "Positional", places, "positional", 1),
        Chip("dense", "Dense", "it fires on more than 10 % of the vectors", "dense", 1),
        Chip("rare", "Rare", f"it fires on 1 to {RARE - 1} images", "image_count", 1, RARE - 1),
        Chip("dead", "Dead", "it fires on no image", "image_count", 0, 0),
    )


def filters(labelled: bool, n_images: int) -> tuple[Filter, ...]:
    """The filters of a run.

    Args:
        labelled: whether the run has labels; n_images: how many were analysed.
    """
    # If a latent fires on three images, its purity says little. So hide latents with few images.
    least = min(RARE, n_images) if labelled else 1
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
    lift = Filter(
        key="lift",
        column="label_lift",
        bound="least",
        title="Lift ≥",
        meaning=_LIFT,
        spoken="Minimum lift",
        usual=0,
        step=1,
    )
    return (*found, purity, lift) if labelled else found
