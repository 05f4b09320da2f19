"""The rows of images that the page of a latent shows: the strongest, some at quantiles of its
activation, the weakest, some at random, and some with its label on which it is silent."""

from typing import NamedTuple

import numpy as np

from saev.analyze.artifact import Analysis
from saev.analyze.top import mixed
from saev.core.progress import Progress
from saev.dashboard.fired import Reading, fired
from saev.dashboard.structures import ImageRow
from saev.labels.artifact import PREFIX

QUANTILES = (0.75, 0.5, 0.25)
N_IN_ROW = 8
N_CANDIDATES = 24
"""How many images with a label are drawn to find some on which a latent is silent."""


class Slots(NamedTuple):
    """Images of each latent, row after row. −1 where there is none."""

    rows: np.ndarray
    """(n, slots) int64."""
    values: np.ndarray
    """(n, slots) float32: the latent's largest activation on each; 0 where it is silent."""
    patches: np.ndarray
    """(n, slots) int32: its strongest patch."""


class Silent(NamedTuple):
    """Images that have the label of a latent's top images, but on which it is silent."""

    label: list[int]
    """For each latent, which of the labels it was: its index."""
    rows: np.ndarray
    """(n, `N_IN_ROW`) int64, −1 where there are fewer."""
    n_drawn: list[int]
    """How many images with the label were drawn."""
    n_silent: list[int]
    """On how many of these it is silent."""


def layout(k: int, labelled: bool) -> list[ImageRow]:
    """The rows, with their places in `Slots`.

    Args:
        k: the number of top images; labelled: whether the run has labels.
    """
    rows: list[tuple[str, str, str, int]] = [
        ("top", "Strongest", "images with its largest activations", k),
    ]
    for q in QUANTILES:
        meaning = (
            f"of a random sample of the images on which it fires, those around the {q:.0%} "
            "quantile of its activation"
        )
        rows.append((f"at-{100 * q:.0f}", f"Around the {q:.0%} quantile", meaning, N_IN_ROW))
    rows.append(("weakest", "Weakest", "images with its smallest activations above 0", N_IN_ROW))
    meaning = "drawn from all images on which it fires, each with the same probability"
    rows.append(("random", "At random", meaning, N_IN_ROW))
    if labelled:
        meaning = (
            "images drawn at random that have the label of its top images, but on which it "
            "doesn't fire"
        )
        rows.append(("silent", "Same label, but silent", meaning, N_IN_ROW))
    ends = np.cumsum([n for *_, n in rows]).tolist()
    return [
        {"name": name, "title": title, "meaning": meaning, "first": end - n, "last": end}
        for (name, title, meaning, n), end in zip(rows, ends, strict=True)
    ]


def slots(latents: dict[str, np.ndarray], silent: Silent | None) -> Slots:
    """The images of all rows, in the order of `layout`.

    A latent whose top images are all that there are has no other rows of images on which it fires.

    Args:
        latents: tensors of the analysis; silent: None without labels.
    """
    more = latents["image_count"] > latents["top_rows"].shape[1]
    drawn = [latents[f"drawn_{field}"] for field in Slots._fields]
    by_value = np.argsort(-drawn[1], axis=1, kind="stable")
    in_sample = (drawn[0] >= 0).sum(1)
    places = []
    for q in QUANTILES:
        first = np.rint((1 - q) * in_sample).astype(np.int64) - N_IN_ROW // 2
        first = np.clip(first, 0, np.maximum(in_sample - N_IN_ROW, 0))
        at = np.minimum(first[:, None] + np.arange(N_IN_ROW), by_value.shape[1] - 1)
        places.append(np.take_along_axis(by_value, at, axis=1))
    out = []
    for field, sample in zip(Slots._fields, drawn, strict=True):
        parts = [latents[f"top_{field}"]]
        parts += [np.take_along_axis(sample, place, axis=1) for place in places]
        parts += [latents[f"weakest_{field}"], sample[:, :N_IN_ROW]]
        parts[1:] = [np.where(more[:, None], part, -1).astype(sample.dtype) for part in parts[1:]]
        if silent is not None:
            of_silent = {"rows": silent.rows, "values": np.where(silent.rows < 0, -1, 0)}
            parts.append(of_silent.get(field, np.full_like(silent.rows, -1)).astype(sample.dtype))
        out.append(np.concatenate(parts, axis=1))
    return Slots(*out)


Pair = tuple[int, str | None]
"""The index of one of a run's labels, and a text that it may have."""


def labels_of_tops(analysis: Analysis) -> list[Pair]:
    """For each latent, the label of its top images. Of several, the one with the largest lift."""
    names, table = analysis.label_names, analysis.table()
    low = np.stack([table.column(f"label_lift_low.{n}").to_numpy() for n in names], axis=1)
    which = np.nan_to_num(low.astype(np.float64), nan=-1).argmax(1)
    texts = [table.column(f"top_label.{name}").to_pylist() for name in names]
    return [(label, texts[label][latent]) for latent, label in enumerate(which.tolist())]


def find_silent(source: Reading, labels: list[Pair], drawn: dict[Pair, list[int]]) -> Silent:
    """Among images with the label of a latent's top images, find those where it is silent.

    Args:
        source: the dictionary, and what it reads.
        labels: of `labels_of_tops`; drawn: of `draw_labelled`, with images of these labels.
    """
    candidates = np.full((len(labels), N_CANDIDATES), -1, np.int64)
    for latent, pair in enumerate(labels):
        images = drawn.get(pair, [])
        candidates[latent, : len(images)] = images
    silent = candidates >= 0
    for latent, slot, _, _ in fired(source, candidates, "looking for images without a latent"):
        silent[latent, slot] = False
    rows = np.full((len(labels), N_IN_ROW), -1, np.int64)
    for latent in np.flatnonzero(silent.any(1)).tolist():
        found = candidates[latent, silent[latent]][:N_IN_ROW]
        rows[latent, : len(found)] = found
    n_drawn, n_silent = (candidates >= 0).sum(1).tolist(), silent.sum(1).tolist()
    return Silent([label for label, _ in labels], rows, n_drawn, n_silent)


def draw_labelled(analysis: Analysis, source: Reading, wanted: set[Pair]) -> dict[Pair, list[int]]:
    """Draw images with each wanted label: rows of at most `N_CANDIDATES`, by a hash of the row."""
    kept: dict[Pair, list[tuple[int, int]]] = {}
    names = analysis.label_names
    progress = Progress(analysis.labels.n_images, "images", "drawing images by their labels")
    for first, table in analysis.labels.pieces():
        rows = source.activations.rows(first, first + len(table))
        hashes = mixed(rows.astype(np.uint64))
        order = np.argsort(hashes, kind="stable")
        drawn = list(zip(hashes[order].tolist(), rows[order].tolist(), strict=True))
        for index, name in enumerate(names):
            labels = table.column(PREFIX + name).take(rows[order] - first).to_pylist()
            found: dict[str, list[tuple[int, int]]] = {}
            for image, text in zip(drawn, labels, strict=True):
                if text is not None and (index, text) in wanted:
                    of_text = found.setdefault(text, [])
                    if len(of_text) < N_CANDIDATES:
                        of_text.append(image)
            for text, images in found.items():
                both = sorted(kept.get((index, text), []) + images)
                kept[index, text] = both[:N_CANDIDATES]
        progress.update(len(table))
    return {pair: [row for _, row in images] for pair, images in kept.items()}
