"""Merges all parts into one result: `latents.safetensors`, `latents.parquet`, `meta.json`."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from safetensors.numpy import save

from saev.analyze import figures
from saev.analyze.artifact import FORMAT, LATENTS, PART, PURITY_IMAGES, STAGE, TABLE
from saev.analyze.baseline import pca_figures
from saev.analyze.counts import PairCounts
from saev.analyze.histogram import EDGES
from saev.analyze.inputs import Inputs
from saev.analyze.label_counts import Vocabulary, read_labels
from saev.analyze.lift import Standing, default_order, is_name, lift_top
from saev.analyze.parts import check_parts, read_totals
from saev.analyze.positions import position_columns
from saev.analyze.top import Kept
from saev.analyze.totals import Totals
from saev.core.errors import UserError
from saev.core.files import atomic_path, write_bytes
from saev.core.meta import write_meta
from saev.labels.artifact import PREFIX
from saev.settings.analysis import AnalysisResolved, AnalysisSettings
from saev.settings.component import identity


def write_merged(
    inputs: Inputs,
    settings: AnalysisSettings,
    resolved: AnalysisResolved,
    n: int,
    out: Path,
    made: Path,
    part_images: int = PART,
    code: str = "",
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Merge the ``n`` parts in ``out``, and write the result into the folder ``made``.

    Args:
        inputs: what was analysed; settings, resolved: the analysis' settings.
        out: directory of the analysis; part_images: number of listed images in a part.
        made: where the result's files are written.
        code: digest of the stage's code.

    Returns:
        the entries of the files, as `write_meta` gives them, and the summary.

    Raises:
        UserError: a part is missing, altered, or made from other inputs; or there is no image at
            all.
    """
    check_parts(inputs, settings, n, out, part_images)
    totals = read_totals(inputs, n, out)
    if not totals.n_rows:
        raise UserError(f"{inputs.activations.path} holds no image that could be read")
    n_vectors = totals.n_rows * inputs.stream.n_patches
    columns: dict[str, Any] = dict(figures.latent_columns(totals, n_vectors))
    columns |= position_columns(
        totals.positions, totals.top.rows, totals.top.patches, inputs.cells()
    )
    standing = Standing(
        totals.image_count,
        min(figures.LIVE_IMAGES, totals.n_rows),
        columns["positional"] | columns["dense"],
    )
    labels, purity = {}, {}
    for index, name in enumerate(inputs.labels.names):
        vocabulary, runs = read_labels(out, n, index)
        codes = top_codes(inputs, name, vocabulary.texts, totals.top.rows)
        found = label_columns(runs, vocabulary, codes, totals.top, standing)
        columns |= {f"{column}.{name}": values for column, values in found.items()}
        labels[name] = {
            "n_labels": len(vocabulary.texts),
            "n_labelled": int(vocabulary.counts.sum()),
        }
        purity[name] = figures.purity_summary(totals, codes, vocabulary.counts)
    write_table(made / TABLE, columns)
    write_bytes(made / LATENTS, save(tensors(totals)))
    fire_rate = columns["fire_rate"]
    everything = {
        "n_images": totals.n_rows,
        "n_vectors": n_vectors,
        "n_dead": int((fire_rate == 0).sum()),
        "n_dense": int(columns["dense"].sum()),
        "n_dense_0.01": int((fire_rate > 0.01).sum()),
        "n_positional": int(columns["positional"].sum()),
        "label_purity_top": purity,
    }
    summary = {
        "format": FORMAT,
        "n_latents": inputs.sae.n_latents,
        "top_images": totals.top.k,
        "n_skipped": inputs.activations.n_images - totals.n_rows,
        "labels": labels,
        "splits": split_figures(inputs, totals, code),
        "all": everything,
    }
    entries = write_meta(
        made,
        stage=STAGE,
        name=out.resolve().name,
        settings=identity(settings, resolved),
        inputs=inputs.digests,
        summary=summary,
        files=[LATENTS, TABLE],
    )
    return entries, summary


def label_columns(
    runs: list[PairCounts],
    vocabulary: Vocabulary,
    codes: np.ndarray,
    top: Kept,
    standing: Standing,
) -> dict[str, Any]:
    """Columns of `latents.parquet` for one label.

    Args:
        runs: counts by latent and label.
        vocabulary: the label's texts.
        codes: (n, k) int64, labels of the top images ``top``.
        standing: what else decides the order of latents.
    """
    texts = np.array([*vocabulary.texts, None], dtype=object)
    shown = codes[:, :PURITY_IMAGES]
    present = top.rows[:, :PURITY_IMAGES] >= 0
    lift = lift_top(shown, present, vocabulary.counts)
    found = figures.label_figures(runs, top.n_latents, len(vocabulary.texts), lift.label.code)
    chance = figures.chance_top(shown, vocabulary.counts)
    named = is_name(lift, chance)
    bases = vocabulary.counts / max(1, vocabulary.counts.sum())
    kept = [codes[codes >= 0] for codes in found.common]
    return {
        "label_entropy": found.entropy,
        "label_support": found.support,
        "label_purity": found.purity,
        "common_label": texts[found.common[:, 0]],
        "label_purity_top": figures.purity_top(shown, present),
        "label_entropy_top": figures.entropy_top(codes, top.values, len(vocabulary.texts)),
        "top_label": texts[lift.label.code],
        "top_label_count": lift.label.n,
        "top_label_base": lift.base,
        "top_label_share": found.share,
        "label_lift": lift.lift,
        "label_lift_low": lift.low,
        "label_chance": chance,
        "named": named,
        "order": default_order(lift, named, found.share, standing),
        "firing_labels": [texts[codes].tolist() for codes in kept],
        "firing_counts": [
            counts[: len(codes)].tolist() for counts, codes in zip(found.counts, kept, strict=True)
        ],
        "firing_bases": [bases[codes].tolist() for codes in kept],
    }


def split_figures(inputs: Inputs, totals: Totals, code: str) -> dict[str, Any]:
    """Figures of reconstruction and of the baseline, by split; None for an empty split."""
    scale = inputs.sae.norm_scale.cpu().double().numpy()
    found = {name: sums.figures(scale) for name, sums in totals.splits.items()}
    baseline = pca_figures(inputs, found, code)
    return {name: f and f | baseline[name] for name, f in found.items()}


def top_codes(inputs: Inputs, name: str, texts: list[str], rows: np.ndarray) -> np.ndarray:
    """Labels of top images as codes. Reads one piece of the table at a time.

    Args:
        name: the label; texts: its distinct labels, sorted; rows: (n, k) row ids, -1 where absent.

    Returns:
        (n, k) int64, -1 without a label or image.
    """
    numbers = {text: number for number, text in enumerate(texts)}
    images, place = np.unique(rows, return_inverse=True)
    codes = np.full(len(images), -1, np.int64)
    for first, table in inputs.labels.pieces():
        low, high = np.searchsorted(images, [first, first + len(table)])
        found = table.column(PREFIX + name).take(images[low:high] - first).to_pylist()
        codes[low:high] = [numbers.get(text, -1) for text in found]
    return codes[place].reshape(rows.shape)


def tensors(totals: Totals) -> dict[str, np.ndarray]:
    """Content of `latents.safetensors`."""
    return {
        **totals.top.arrays("top"),
        **totals.weakest.arrays("weakest"),
        **totals.drawn.arrays("drawn"),
        "fire_count": totals.fire_count,
        "image_count": totals.image_count,
        "sum_activation": totals.sum_activation,
        "histogram": totals.histogram,
        "positions": totals.positions,
        "bin_edges": EDGES,
    }


LISTS = {
    "firing_labels": pyarrow.list_(pyarrow.string()),
    "firing_counts": pyarrow.list_(pyarrow.int64()),
    "firing_bases": pyarrow.list_(pyarrow.float64()),
}
"""Types of the columns that hold a list for each latent."""


def write_table(path: Path, columns: dict[str, Any]) -> None:
    """Write columns to a parquet file. NaN becomes null."""
    arrays = {}
    for name, column in columns.items():
        kind = LISTS.get(name.partition(".")[0])
        if kind is None and column.dtype == object:
            kind = pyarrow.string()
        arrays[name] = pyarrow.array(column, type=kind, from_pandas=True)
    with atomic_path(path) as temporary:
        pyarrow.parquet.write_table(pyarrow.table(arrays), temporary)
