"""The page of one run: thumbnails, heat maps, blocks of data, and the page itself."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from saev.activations.artifact import Activations
from saev.analyze import columns
from saev.analyze.artifact import Analysis
from saev.core.errors import UserError
from saev.core.files import file_entry, folder_entry, write_bytes
from saev.core.meta import read_meta, require_unaltered
from saev.core.progress import Progress
from saev.dashboard import artifact as names
from saev.dashboard.heatmaps import make_heatmaps
from saev.dashboard.page import page
from saev.dashboard.scripts import column, packed, rounded, script
from saev.dashboard.structures import About, Figures, Heat, PageBlock, Summary
from saev.dashboard.thumbnails import make_thumbnails
from saev.images.artifact import Images
from saev.labels.artifact import LabelTable
from saev.sae import Sae
from saev.train import artifact as trained

N_NEIGHBOURS = 6
NEIGHBOUR_ROWS = 1024


def build(
    out: Path,
    state: Path,
    *,
    analysis: Analysis,
    sae_folder: Path,
    activations: Activations,
    images: Images,
    credit: str | None,
    threads: int,
    device: torch.device,
) -> dict[str, Any]:
    """Write the dashboard of one run into ``out``.

    Everything is made in ``state`` first. So a stopped build can resume, and nothing is left over
    from an older page.

    Args:
        out: the dashboard's directory.
        state: folder for what is being made.
        analysis: the analysis that is shown.
        sae_folder: directory of its dictionary.
        activations, images: what the analysis looked at.
        credit: whose images these are, for the foot of the page.
        threads: how many threads decode images.
        device: where the dictionary runs.

    Returns:
        the content of `summary.json`, which must be written last.

    Raises:
        UserError: an input was altered after it was made.
    """
    require_unaltered(analysis.path, analysis.meta["files"])
    train, train_digest = read_meta(sae_folder, trained.STAGE)
    _require_inputs(analysis, {"train": train_digest, "activations": activations.digest})
    labels = analysis.labels
    latents, table = analysis.latents(), analysis.table()
    sae = trained.load(sae_folder, device)
    stream = activations.streams[str(sae.stream)]
    top_rows = latents["top_rows"]
    made = state / "page"
    rows = np.unique(top_rows[top_rows >= 0])
    entries = images.entries(rows.tolist())
    keys = [entry.key for entry in entries]
    make_thumbnails(made, images, activations, entries, threads)
    if stream.kind == "patches":
        peak = np.maximum(latents["top_values"][:, 0], np.finfo(np.float32).tiny)
        heat = make_heatmaps(state / "heat.npy", sae, activations, stream, top_rows, peak)
        _write_heat(made, heat)
    _write_blocks(made, labels, (rows, keys), latents, _neighbours(sae, latents["image_count"]))
    figures: Figures = {name: column(table.column(name).to_pylist()) for name in table.column_names}
    write_bytes(made / names.FIGURES, script("latents", figures))
    about = _about(analysis, activations, sae, latents, credit, sae_folder, train["summary"])
    write_bytes(made / names.PAGE, page("run", about))
    (made / "pictures").mkdir(exist_ok=True)
    for part in ("data", "pictures", names.PAGE):
        if (out / part).is_dir():
            (out / part).replace(state / f"former-{part}")
        (made / part).replace(out / part)
    return {
        "format_version": names.FORMAT_VERSION,
        "stage": names.STAGE,
        "name": analysis.path.name,
        "settings": {**analysis.meta["settings"], "credit": credit},
        "inputs": {
            "analysis": analysis.digest,
            "activations": activations.digest,
            "images": images.digest,
        },
        "run": about["run"],
        "summary": analysis.summary,
        "files": [
            file_entry(out / names.PAGE, names.PAGE),
            *(folder_entry(out, folder) for folder in ("data", "pictures")),
        ],
    }


def _require_inputs(analysis: Analysis, digests: dict[str, str]) -> None:
    """Refuse a dictionary or activations other than those that were analysed."""
    for name, digest in digests.items():
        if analysis.meta["inputs"].get(name) != digest:
            raise UserError(
                f"{analysis.path} wasn't made from the current result of the stage {name}: run the "
                f"stage analyze again"
            )


def _neighbours(sae: Sae, image_count: np.ndarray) -> tuple[list[list[int]], list[list[float]]]:
    """For each latent, the live latents with the nearest decoder directions, and their cosines."""
    directions = sae.W_dec.detach().cpu()
    dead = torch.from_numpy(image_count == 0)
    found, cosines = [], []
    for first in range(0, len(directions), NEIGHBOUR_ROWS):
        rows = directions[first : first + NEIGHBOUR_ROWS]
        cosine = rows @ directions.T
        own = torch.arange(len(rows))
        cosine[own, first + own] = -2
        cosine[:, dead] = -2
        best = cosine.topk(min(N_NEIGHBOURS, len(directions)), dim=1)
        for values, indices in zip(best.values.tolist(), best.indices.tolist(), strict=True):
            kept = [(j, round(c, 3)) for c, j in zip(values, indices, strict=True) if c > -2]
            found.append([j for j, _ in kept])
            cosines.append([c for _, c in kept])
    return found, cosines


def _write_heat(out: Path, heat: np.ndarray) -> None:
    """Write heat maps (n, k, patches), with a bounded number of latents in each script."""
    n, k, n_patches = heat.shape
    each = names.heat_latents(k * n_patches)
    for number, first in enumerate(range(0, n, each)):
        part: Heat = [packed(values) for values in heat[first : first + each]]
        write_bytes(out / names.heat(number), script(f"heat {number}", part))


def _write_blocks(
    out: Path,
    labels: LabelTable,
    images: tuple[np.ndarray, list[str]],
    latents: dict[str, np.ndarray],
    neighbours: tuple[list[list[int]], list[list[float]]],
) -> None:
    n = len(latents["top_rows"])
    progress = Progress(n, "latents", "writing data")
    for number, first in enumerate(range(0, n, names.BLOCK_LATENTS)):
        part = slice(first, min(first + names.BLOCK_LATENTS, n))
        top_rows = latents["top_rows"][part]
        rows = np.unique(top_rows[top_rows >= 0])
        keys = [images[1][at] for at in np.searchsorted(images[0], rows)]
        described = zip(rows.tolist(), keys, labels.take(rows), strict=True)
        block: PageBlock = {
            "images": {str(row): [key, *texts.values()] for row, key, texts in described},
            "rows": top_rows.tolist(),
            "values": [
                [rounded(float(v)) if r >= 0 else None for v, r in zip(values, row, strict=True)]
                for values, row in zip(latents["top_values"][part], top_rows, strict=True)
            ],
            "patches": latents["top_patches"][part].tolist(),
            "histogram": [_sparse(counts) for counts in latents["histogram"][part]],
            "neighbours": neighbours[0][part],
            "cosines": neighbours[1][part],
        }
        write_bytes(out / names.block(number), script(f"block {number}", block))
        progress.update(part.stop - part.start)


def _sparse(counts: np.ndarray) -> list[int]:
    """A histogram as ``[first filled bin, count, count, …]`` without the empty ends."""
    filled = np.flatnonzero(counts)
    if not len(filled):
        return []
    return [int(filled[0]), *counts[filled[0] : filled[-1] + 1].tolist()]


def _about(
    analysis: Analysis,
    activations: Activations,
    sae: Sae,
    latents: dict[str, np.ndarray],
    credit: str | None,
    sae_folder: Path,
    trained_summary: dict[str, Any],
) -> About:
    """What the page says about the run, and how its data is laid out."""
    summary = activations.meta["summary"]
    stream = activations.streams[str(sae.stream)]
    k = int(latents["top_rows"].shape[1])
    labelled, n_images = bool(analysis.label_names), analysis.summary["all"]["n_images"]
    return {
        "run": {
            "images": activations.path.parent.name,
            "vit": activations.path.name,
            "sae": sae_folder.name,
            "analysis": analysis.path.name,
            "trained_on": sae_folder.resolve().parent.parent.name,
        },
        "model": summary["model"],
        "stream": stream.name,
        "architecture": sae.architecture,
        "telling": sae.settings.in_short(),
        "doubts": trained_summary.get("doubts", []),
        "n_latents": sae.n_latents,
        "d": sae.d,
        "block": names.BLOCK_LATENTS,
        "folder": names.FOLDER,
        "heat_latents": names.heat_latents(k * stream.n_patches),
        "top_images": k,
        "grid": summary["geometry"]["grid"] if stream.kind == "patches" else None,
        "bin_edges": [rounded(float(edge)) for edge in latents["bin_edges"]],
        "labels": analysis.label_names,
        "columns": list(columns.COLUMNS),
        "orders": list(columns.ORDERS),
        "named_below": columns.NAMED_BELOW,
        "card": list(columns.CARD if labelled else columns.CARD_UNLABELLED),
        "tiles": list(columns.TILES),
        "label_table": list(columns.LABEL_TABLE),
        "filters": list(columns.filters(labelled, n_images)),
        "summary": cast(Summary, analysis.summary),
        "credit": credit,
    }
