"""What a page may say of the columns that an evaluation has for each latent.

To show a new figure of a latent, compute it as a column of `latents.parquet`, and add a row here.
A row in `FILTERS` lets readers set a bound on it.
"""

from typing import Literal

from saev.analyze.columns import Column, Filter

LATENT_COLUMNS = (
    Column(
        "stability",
        "stability",
        "share",
        "largest cosine of its decoder row to a row of the same dictionary with another "
        "init_seed, mean over seeds: 1 is found again, chance stands in the run's figures",
    ),
    Column(
        "monosemanticity",
        "monosemanticity",
        "share",
        "mean cosine of the embeddings of the images on which it fires, weighted by activation",
    ),
    Column(
        "moran_i",
        "Moran's I",
        "share",
        "how connected its map is on the grid of patches: 1 is one region, about 0 is at random",
    ),
    Column("moran_i_images", "images of Moran's I", "count", "images behind its Moran's I"),
    Column(
        "mask_ap",
        "mask AP",
        "share",
        "average precision on held-out images for the class of the masks that it finds best on "
        "training images",
    ),
    Column(
        "redundancy",
        "redundancy",
        "share",
        "largest cosine of its decoder row to that of another latent of this dictionary",
    ),
    Column(
        "suggested",
        "suggested",
        "text",
        "word of the vocabulary that is nearest to its strongest images by the model's text "
        "tower, where chance doesn't explain it: a suggestion of the vocabulary, not a name",
    ),
    Column(
        "suggested_margin",
        "suggestion's margin",
        "number",
        "by how much the similarity of its nearest word of the vocabulary exceeds what 1 % of "
        "shuffled latents reach: a word is suggested above 0",
    ),
    Column(
        "pmi",
        "co-activation",
        "number",
        "largest pointwise mutual information with another latent, in nats: 0 is independent",
    ),
)
"""An evaluation has those of the metrics that it was asked for."""


_MEANINGS = {column.name: column.meaning for column in LATENT_COLUMNS}


def _filter(
    column: str, title: str, bound: Literal["least", "most"] = "least", highest: float | None = 1
) -> Filter:
    """A filter that lets all latents through until the reader sets a bound."""
    sign, spoken = ("≥", "Minimum") if bound == "least" else ("≤", "Maximum")
    return Filter(
        key=column,
        column=column,
        bound=bound,
        title=f"{title} {sign}",
        meaning=_MEANINGS[column],
        spoken=f"{spoken} {title}",
        usual=0 if bound == "least" else 1,
        step=0.05,
        highest=highest,
    )


FILTERS = (
    _filter("stability", "Stability"),
    _filter("monosemanticity", "Monosemanticity"),
    _filter("moran_i", "Moran's I"),
    _filter("redundancy", "Redundancy", "most"),
    _filter("pmi", "Co-activation", highest=None),
)
"""Bounds that readers of the page can set."""
