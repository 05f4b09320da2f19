"""Writes the data of a run's page: figures of all latents, and images in blocks of latents."""

import base64
import json
from pathlib import Path

import numpy as np
import pyarrow as pa

from saev.analyze import columns
from saev.analyze.artifact import PURITY_IMAGES, Analysis
from saev.core.files import write_bytes
from saev.core.progress import Progress
from saev.dashboard import artifact as names
from saev.dashboard.evaluated import Partners
from saev.dashboard.image_rows import Silent, Slots
from saev.dashboard.scripts import rounded, script
from saev.dashboard.structures import Columns, ImageNames, NumberColumn, PageBlock, Strongest

FIRING = ("firing_labels", "firing_counts", "firing_bases")


class _Dictionary:
    """Gives each distinct text a number."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def __call__(self, text: str | None) -> int | None:
        return None if text is None else self.numbers.setdefault(text, len(self.numbers))


def keep_beside(out: Path, analysis: Analysis) -> None:
    """Keep what lies beside the page in ``out``, but for a projection of another analysis.

    Where there is none, write that: a page reports an error if it looks for a file in vain.
    """
    if not (out / names.GIVEN).exists():
        write_bytes(out / names.GIVEN, script("given", []))
    path = out / names.PROJECTION
    if path.exists():
        found = json.loads(path.read_text().partition("=")[2].removesuffix(";\n"))
        if found and found["analysis"] == analysis.digest:
            return
    write_bytes(path, script("projection", None))


def listed_first(table: pa.Table, labels: list[str]) -> np.ndarray:
    """All latents (n,), int64, in the order in which the page lists them at first."""
    order = (columns.ORDERS if labels else columns.ORDERS_UNLABELLED)[0]
    column = next(column for column in columns.COLUMNS if column.name == order)
    values = table.column(f"{order}.{labels[0]}" if labels else order).to_numpy()
    return np.argsort(values if column.rising else -values, kind="stable")


def write_columns(out: Path, table: pa.Table, order: np.ndarray) -> None:
    """Write the figures of all latents, without columns of lists.

    Args:
        out: folder of the page.
        table: the columns.
        order: latents in the order of their data.
    """
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    content: Columns = {"numbers": {"place": exact(place)}, "texts": {}}
    for name in table.column_names:
        values = table.column(name)
        if pa.types.is_list(values.type):
            continue
        if pa.types.is_string(values.type):
            encoded = values.combine_chunks().dictionary_encode()
            codes = exact(encoded.indices.fill_null(-1).to_numpy())
            content["texts"][name] = {"texts": encoded.dictionary.to_pylist(), "codes": codes}
        else:
            # Missing integers make it a column of floats.
            values = values if pa.types.is_floating(values.type) else values.cast(pa.int64())
            content["numbers"][name] = exact(values.to_numpy())
    write_bytes(out / names.FIGURES, script("latents", content))


def exact(values: np.ndarray) -> NumberColumn:
    """A column of numbers (n,) for the page, with all digits; NaN where missing.

    Distinct numbers are listed once where that is shorter: many figures are quotients of counts.
    """
    plain = _packed(values)
    distinct, places = np.unique(values, return_inverse=True)
    listed, place = _packed(distinct), _packed(places)
    if len(listed["values"]) + len(place["values"]) >= len(plain["values"]):
        return plain
    return {**listed, "places": place}


def _packed(values: np.ndarray) -> NumberColumn:
    kinds = ("<i1", "<i2", "<i4", "<f4") if values.dtype.kind in "iu" else ("<f4",)
    for kind in kinds:
        with np.errstate(over="ignore"):
            kept = values.astype(kind)
        if np.array_equal(kept.astype(values.dtype), values, equal_nan=values.dtype.kind == "f"):
            break
    else:
        kept = values.astype("<f8")
    shuffled = kept.reshape(-1, 1).view(np.uint8).T.tobytes()
    # pyarrow brings its own zlib, so each Python makes the same bytes.
    packed = pa.Codec("gzip").compress(shuffled, asbytes=True)
    return {"type": kept.dtype.name, "values": base64.b64encode(packed).decode()}


def write_names(out: Path, images: tuple[np.ndarray, list[str]], top_rows: np.ndarray) -> None:
    """Write the names of all images, with the latents whose top images they are among.

    Args:
        images: rows of all images on the page, ascending, and their keys.
        top_rows: (n, k) int64.
    """
    latents, slots = np.nonzero(top_rows >= 0)
    order = np.argsort(top_rows[latents, slots], kind="stable")
    ends = np.searchsorted(top_rows[latents, slots][order], images[0], side="right")
    content: ImageNames = {
        "rows": images[0].tolist(),
        "keys": images[1],
        "latents": [part.tolist() for part in np.split(latents[order], ends[:-1])],
    }
    write_bytes(out / names.NAMES, script("names", content))


def write_strongest(out: Path, latents: dict[str, np.ndarray]) -> None:
    """Write the strongest images of each latent, and their patches. A list or a wall in another
    order than that of the blocks would read a block for nearly each latent."""
    content: Strongest = {
        "rows": exact(latents["top_rows"][:, :PURITY_IMAGES].reshape(-1)),
        "patches": exact(latents["top_patches"][:, :PURITY_IMAGES].reshape(-1)),
    }
    write_bytes(out / names.STRONGEST, script("strongest", content))


def write_blocks(
    out: Path,
    analysis: Analysis,
    order: np.ndarray,
    images: tuple[np.ndarray, list[str]],
    latents: dict[str, np.ndarray],
    shown: Slots,
    silent: Silent | None,
    neighbours: tuple[list[list[int]], list[list[float]]],
    partners: Partners | None,
) -> None:
    """Write the data of latents, in blocks.

    Args:
        out: folder of the page.
        analysis: the analysis.
        order: latents in the order of their data.
        images: rows of all images on the page, ascending, and their keys.
        latents: tensors of the analysis.
        shown: the images of each latent; silent: None without labels.
        neighbours: latents with the nearest directions, and their cosines.
        partners: latents that fire with each, if known.
    """
    n, labels = len(shown.rows), analysis.label_names
    table = analysis.table().select([f"{name}.{label}" for label in labels for name in FIRING])
    progress = Progress(n, "latents", "writing data")
    for number, first in enumerate(range(0, n, names.DATA_LATENTS)):
        part = order[first : first + names.DATA_LATENTS]
        texts = _Dictionary()
        block_rows = shown.rows[part]
        rows = np.unique(block_rows[block_rows >= 0])
        keys = [images[1][at] for at in np.searchsorted(images[0], rows)]
        described = zip(rows.tolist(), keys, analysis.labels.take(rows), strict=True)
        firing: list[list[list[list[float]]]] = [[] for _ in block_rows]
        here = table.take(part)
        for label in labels:
            lists = (here.column(f"{name}.{label}").to_pylist() for name in FIRING)
            for of_latent, found in zip(firing, zip(*lists, strict=True), strict=True):
                entries = zip(*found, strict=True)
                of_latent.append(
                    [[texts(text) or 0, m, rounded(base) or 0] for text, m, base in entries]
                )
        block: PageBlock = {
            "images": {
                str(row): [key, *map(texts, of_image.values())] for row, key, of_image in described
            },
            "texts": list(texts.numbers),
            "rows": block_rows.tolist(),
            "values": [
                [rounded(float(v)) if r >= 0 else None for v, r in zip(values, row, strict=True)]
                for values, row in zip(shown.values[part], block_rows, strict=True)
            ],
            "patches": shown.patches[part].tolist(),
            "firing": firing,
            "silent": [
                [silent.label[j], silent.n_drawn[j], silent.n_silent[j]] if silent else []
                for j in part
            ],
            "histogram": [_sparse(counts) for counts in latents["histogram"][part]],
            "positions": latents["positions"][part].tolist(),
            "neighbours": [neighbours[0][j] for j in part],
            "cosines": [neighbours[1][j] for j in part],
        }
        if partners:
            block["partners"] = partners.of(part)
        write_bytes(out / names.block(number), script(f"block {number}", block))
        progress.update(len(part))


def _sparse(counts: np.ndarray) -> list[int]:
    """A histogram as ``[first filled bin, count, count, …]`` without the empty ends."""
    filled = np.flatnonzero(counts)
    if not len(filled):
        return []
    return [int(filled[0]), *counts[filled[0] : filled[-1] + 1].tolist()]
