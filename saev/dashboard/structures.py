"""The data of the pages: each structure that Python passes to the scripts.

`make format` writes `assets/types.d.ts` from these classes, and `make lint` checks the scripts
against it. So a name means the same on both sides.
"""

from typing import Any, NotRequired, TypedDict

from saev.analyze.columns import Chip, Column, Filter, Shown
from saev.dashboard.comparisons import Comparison
from saev.dashboard.evaluated import Evaluated, EvaluatedFigure, MeasuredInShort

Figure = float | None
"""None where a figure isn't defined."""


class Lineage(TypedDict):
    """Names of the directories that a run was made in."""

    images: str
    vit: str
    sae: str
    analysis: str
    trained_on: str
    """The images that the dictionary was trained on."""


class SplitFigures(TypedDict):
    """Figures of reconstruction on a set of images; `meta.json` has more."""

    nmse: Figure
    pca_nmse: Figure
    pca_fit_on: str
    """The split that the baseline was fitted on."""
    nmse_raw: Figure
    l0: Figure
    n_images: int
    n_vectors: int


class Purity(TypedDict):
    """Purity of the top images by one label, over the latents that fire on enough images."""

    mean: Figure
    share_75: Figure
    shuffled_mean: Figure
    shuffled_share_75: Figure
    n_latents: int


class WholeFigures(TypedDict):
    """Figures of the whole analysis."""

    n_images: int
    n_vectors: int
    n_dead: int
    n_dense: int
    n_positional: int
    label_purity_top: dict[str, Purity]
    """By label."""


class Summary(TypedDict):
    """The summary of an analysis, as in its `meta.json`."""

    n_latents: int
    n_skipped: int
    splits: dict[str, SplitFigures | None]
    """By `train`, `held_out`, `other`; None for a set without images."""
    all: WholeFigures


class NameScore(TypedDict):
    """On how many held-out images a name is ranked first among five."""

    n: int
    """Held-out images on which the latent fires and that whoever named it hasn't seen."""
    hits: int | None
    """None if there are too few images."""
    interval: list[float] | None
    """Ends of the 95 % interval of the share; None if there are too few images."""
    fewest: int
    """Fewer images than this give no score."""


class GivenNamed(TypedDict):
    """A name of a latent that a person or a model gave."""

    latent: int
    name: str
    note: str
    author: str
    """Empty if nobody says who."""
    score: NotRequired[NameScore]


class ImageRow(TypedDict):
    """A row of images on the page of a latent."""

    name: str
    title: str
    meaning: str
    first: int
    """Its first place among the latent's images."""
    last: int
    """Its last place, plus one."""


class About(TypedDict):
    """The data that the page of a run starts with."""

    run: Lineage
    model: str
    stream: str
    architecture: str
    telling: dict[str, Figure]
    """The settings that describe it in short, such as its sparsity."""
    doubts: list[str]
    """Reasons to distrust the dictionary."""
    n_latents: int
    d: int
    block: int
    """Images, or directions, in one script of theirs."""
    data_latents: int
    """Latents in one script of their data."""
    folder: int
    """Largest number of files in one folder."""
    heat_latents: int
    """Latents in one script of heat maps."""
    contrast_labels: int
    """Labels in one script of firing counts."""
    top_images: int
    large: bool
    """Whether there are large images."""
    grid: list[int] | None
    """Height and width of the grid of patches; None for a stream without patches."""
    bin_edges: list[Figure]
    labels: list[str]
    columns: list[Column]
    """The columns that the page shows. One that is `of_label` exists for each of `labels`."""
    orders: list[str]
    """Names of columns to sort by, the default first."""
    rows: list[ImageRow]
    """The rows of images of a latent."""
    cells: list[int] | None
    """Lines and columns of the map of where a latent fires; None for a stream without patches."""
    chips: list[Chip]
    card: list[Shown]
    tiles: list[Shown]
    label_table: list[Shown]
    filters: list[Filter]
    summary: Summary
    evaluation: NotRequired[Evaluated]
    credit: str | None


class NumberColumn(TypedDict):
    """A column of numbers, exactly as in `latents.parquet`, so that sorting and filtering equal
    those of the table."""

    type: str
    """``int8``, ``int16``, ``int32``, ``float32`` or ``float64``: the smallest in which all fit."""
    values: str
    """The first byte of each number, then the second of each, and so on (the lowest first),
    as gzip (RFC 1952), in base64. NaN where there is none."""
    places: NotRequired["NumberColumn"]
    """For each latent the place of its number, if the values are the distinct ones."""


class TextColumn(TypedDict):
    """A column of texts: each distinct text once."""

    texts: list[str]
    codes: NumberColumn
    """For each latent, its text; −1 where there is none."""


class Columns(TypedDict):
    """`data/latents.js`: the columns of `latents.parquet`, each with an entry for each latent."""

    numbers: dict[str, NumberColumn]
    """Those of truth values have 0 and 1. ``place`` is where a latent's data lies."""
    texts: dict[str, TextColumn]


class PackedPairs(TypedDict):
    """Pairs of latents of two runs, by rising cosine."""

    latent: str
    """Little-endian int32 in base64."""
    other: str
    cosine: str
    """Little-endian float32 in base64."""


class RunMatch(TypedDict):
    """A script in `matched`: the latents of two runs, matched by their decoder directions."""

    made_of: list[Any]
    """Digests of the code and, for both runs, of the dictionary and the analysis."""
    n: list[int]
    """How many latents of each run fire."""
    chance: float
    """The cosine that partners exceed."""
    pairs: PackedPairs
    """Those that are matched."""
    alone: PackedPairs
    """Latents of the first run without a partner, each with the nearest one of the second."""
    alone_there: PackedPairs
    """Those of the second run, each as `other`."""


class MatchedPair(TypedDict):
    """Two runs that are matched."""

    first: str
    """Link to its page, as in `GalleryRun`."""
    second: str
    file: str


class MatchedRuns(TypedDict):
    """`matched/pairs.js`: which runs were matched by a job."""

    pairs: list[MatchedPair]
    n_left_out: int
    """How many more pairs could have been matched."""


class Projection(TypedDict):
    """`projection.js`, if the settings ask for it: places of latents by their decoder directions.
    Distances mean little, but latents that are near have similar directions."""

    analysis: str
    """Digest of the analysis that says which latents fire."""
    x: str
    """For each latent, as little-endian float32 in base64; NaN for a dead one."""
    y: str


class Strongest(TypedDict):
    """`data/strongest.js`: the strongest images of all latents, 16 of each at most, for views of
    many latents in any order. All of the first latent come first, then those of the second."""

    rows: NumberColumn
    """−1 where there is none."""
    patches: NumberColumn
    """The strongest patch of each; −1 for a stream without patches."""


class ImageNames(TypedDict):
    """`data/names.js`: the images by their names, to find latents."""

    rows: list[int]
    """Rows of all images on the page, ascending."""
    keys: list[str]
    """Their names."""
    latents: list[list[int]]
    """For each, the latents whose top images it is among."""


class ImageBlock(TypedDict):
    """A script in `data/images`: lists with an entry for each of its images."""

    labels: list[list[str | None]]
    """In the order of `About.labels`."""
    latents: list[list[int]]
    """The latents that fire most strongly on it, the strongest first."""
    values: list[list[Figure]]
    """Their activations."""
    patches: list[list[int]]
    """The patches with these; empty for a stream without patches."""
    n_latents: list[int]
    """How many latents fire on it."""


class ContrastIndex(TypedDict):
    """`data/contrast/00/labels.js`: the texts of one of `About.labels` that can be contrasted."""

    texts: list[str]
    """Sorted."""
    images: list[int]
    """How many images have each."""
    n_few: int
    """How many texts were left out, as fewer than `least` images have them."""
    n_beyond: int
    """How many more were left out, as there are so many."""
    least: int


class DrawnImage(TypedDict):
    """One of the images that were drawn at random from those with a label."""

    row: int
    key: str
    fires: str
    """What fires on it, packed (see `varints`): for each latent, how many latents lie between it
    and the one before, its activation from 1 to 255, its largest anywhere, and the patch."""


class ContrastBlock(TypedDict):
    """A script in `data/contrast`: lists with an entry for each of its texts."""

    fires: list[str]
    """What fires on its images, packed: for each latent, how many latents lie between it and the
    one before, on how many of the images it fires, and the mean over all of them of its largest
    activation on each, in thousandths of its largest anywhere."""
    drawn: list[list[DrawnImage]]


Directions = list[str]
"""A script in `data/directions`: for each latent its decoder direction as d signed bytes, the
largest component 127 or −127, in base64."""


class PageBlock(TypedDict):
    """A script in `data/blocks`: lists with an entry for each of its latents, by their places."""

    texts: list[str]
    """The labels in this block. Others are given by their places here."""
    images: dict[str, list[str | int | None]]
    """By row: the image's key, then its labels in the order of `About.labels`."""
    rows: list[list[int]]
    """Images in the order of `About.rows`; −1 where there is none."""
    values: list[list[Figure]]
    """The latent's largest activation on each."""
    patches: list[list[int]]
    """The strongest patch of each; −1 for a stream without patches."""
    firing: list[list[list[list[float]]]]
    """The most common labels of the images on which it fires, for each of `About.labels`: the
    label, how many images have it, and its share of all labelled images."""
    silent: list[list[int]]
    """For which label images were sought on which it is silent, how many were drawn, and on how
    many it is silent; empty without labels."""
    histogram: list[list[int]]
    """The first bin that isn't empty, then the counts from there on; empty if it never fires."""
    positions: list[list[int]]
    """Vectors on which it fires in each cell of the image; empty for a stream without patches."""
    neighbours: list[list[int]]
    """Latents with the nearest directions."""
    cosines: list[list[float]]
    """Theirs."""
    partners: NotRequired[list[list[list[float]]]]
    """Latents with which it fires: the latent, PMI, and the vectors on which both fire."""


Heat = list[str]
"""A script in `data/heat`: the heat maps of each latent, by their places, packed, in base64."""


class Training(TypedDict):
    """Settings of a training; its `meta.json` has more."""

    tokens: str
    layer: NotRequired[int | None]
    normalisation: NotRequired[str]
    """Absent for none."""


class Curve(TypedDict):
    """Pairs of a step and the nmse there."""

    train: list[list[float]]
    held_out: list[list[float]]


class Example(TypedDict):
    """A latent in a strip."""

    latent: int
    label: str | None
    """Its name."""
    count: int
    """How many of the top images have the label."""
    n_top: int
    """How many top images count."""
    base: Figure
    """The label's share of all images."""
    pictures: list[str]
    """Names of thumbnails, relative to the run's `pictures`."""


class Strips(TypedDict):
    """A few latents of a run."""

    first: list[Example]
    """Those that its page lists first."""
    drawn: list[Example]
    """Those drawn at random from all that fire."""
    n_live: int
    """How many fire."""
    seed: int
    """Of the draw."""


class GalleryRun(TypedDict):
    """A run in the gallery."""

    current: bool
    """Whether the last command asked for this run."""
    run: Lineage
    link: str
    """To its page. Empty in a page that travels alone."""
    pictures: str
    """The folder of its page, to which names of thumbnails and of data are relative."""
    block: int
    """Directions in one of its scripts of directions."""
    data_latents: int
    """Latents in one script of their data."""
    folder: int
    """Largest number of files in one folder."""
    summary: Summary
    credit: str | None
    architecture: str
    telling: dict[str, Figure]
    doubts: list[str]
    settings: Training
    final: dict[str, Any] | None
    """Figures of the last step of the training."""
    curve: Curve
    strips: Strips
    evaluation: NotRequired[list[EvaluatedFigure]]
    """A few of its figures."""
    measured: NotRequired[dict[str, MeasuredInShort]]
    """All of them, by their titles."""
    untrained: NotRequired[str]
    """Link of the same run with an untrained tower, if the gallery has it; its own if it is one."""


class FrontierPoint(TypedDict):
    """A dictionary of a sweep."""

    name: str
    label: str
    link: str
    """As that of a run."""
    l0: float
    nmse: float
    dead: float
    """Share of its latents that are dead."""
    pareto: bool


class Frontier(TypedDict):
    """The points of a sweep that can be compared."""

    entry: str
    where: str
    held_out: bool
    """Whether the error is that of held-out images."""
    rule: str
    recommended: str | None
    """Name of the recommended point."""
    points: list[FrontierPoint]


class Gallery(TypedDict):
    """The data that the gallery starts with."""

    runs: list[GalleryRun]
    frontiers: list[Frontier]
    meanings: NotRequired[dict[str, str]]
    """What the figures of evaluations say, by their titles."""
    comparisons: NotRequired[list[Comparison]]
