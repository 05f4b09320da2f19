"""The page of one run: thumbnails, heat maps, blocks of data, and the page itself."""

import base64
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from saev.activations.artifact import Activations
from saev.analyze import columns
from saev.analyze.artifact import STAGE as ANALYZE
from saev.analyze.artifact import Analysis
from saev.analyze.cells import cells
from saev.analyze.kept_codes import KeptCodes
from saev.analyze.neighbours import nearest
from saev.core.errors import UserError
from saev.core.files import file_entry, folder_entry, write_bytes
from saev.core.meta import read_meta
from saev.dashboard import artifact as names
from saev.dashboard import evaluated
from saev.dashboard.contrast import Contrast
from saev.dashboard.data import (
    keep_beside,
    listed_first,
    write_blocks,
    write_columns,
    write_names,
    write_strongest,
)
from saev.dashboard.fired import Reading, fired
from saev.dashboard.heatmaps import make_heatmaps
from saev.dashboard.image_pages import ImagePages
from saev.dashboard.image_rows import (
    draw_labelled,
    find_silent,
    labels_of_tops,
    layout,
    slots,
)
from saev.dashboard.page import page
from saev.dashboard.scripts import packed, rounded, script
from saev.dashboard.structures import About, Directions, Heat, Summary
from saev.dashboard.thumbnails import make_thumbnails
from saev.evaluate.artifact import STAGE as EVALUATE
from saev.evaluate.artifact import Evaluation
from saev.images.artifact import Images
from saev.sae import Sae
from saev.train import artifact as trained

N_NEIGHBOURS = 6


def build(
    out: Path,
    state: Path,
    *,
    analysis: Analysis,
    sae_folder: Path,
    activations: Activations,
    images: Images,
    evaluation: Evaluation | None,
    others: list[str],
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
        evaluation: the evaluation that is shown, if any.
        others: names of further evaluations of this analysis.
        credit: whose images these are, for the foot of the page.
        threads: how many threads decode images.
        device: where the dictionary runs.

    Returns:
        the content of `summary.json`, which must be written last.

    Raises:
        UserError: an input was altered after it was made.
    """
    analysis.require_format()
    train, train_digest = read_meta(sae_folder, trained.STAGE)
    _require_inputs(analysis, {"train": train_digest, "activations": activations.digest})
    if evaluation:
        _require_of(evaluation, analysis)
    latents, table = analysis.latents(), analysis.table()
    sae = trained.load(sae_folder, device)
    stream = activations.streams[str(sae.stream)]
    source = Reading(sae, activations, stream, KeptCodes(analysis, activations, stream))
    made = state / "page"
    contrast, silent = Contrast(analysis), None
    drawn_rows = np.empty(0, np.int64)
    if analysis.label_names:
        tops = labels_of_tops(analysis)
        drawn = draw_labelled(analysis, source, {*tops, *contrast.wanted()})
        silent = find_silent(source, tops, drawn)
        drawn_rows = contrast.take(drawn)
    order = listed_first(table, analysis.label_names)
    shown = slots(latents, silent)
    rows = np.union1d(shown.rows[shown.rows >= 0], drawn_rows)
    entries = images.entries(rows.tolist())
    keys = [entry.key for entry in entries]
    large = len(entries) <= names.LARGE_IMAGES
    make_thumbnails(made, images, activations, entries, threads, large)
    pages = ImagePages()
    peak = np.maximum(latents["top_values"][:, 0], np.finfo(np.float32).tiny)

    def see(row: int, *found: *tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
        pages.add(row, *found)
        contrast.add(row, *found, peak)

    if stream.kind == "patches":
        heat = make_heatmaps(state / "heat.npy", source, shown.rows, peak, see, drawn_rows)
        _write_heat(made, heat, order)
    else:
        doing = "looking for the latents of images"
        for _ in fired(source, shown.rows, doing, see, drawn_rows):
            pass
    pages.write(made, analysis, keys, stream.kind == "patches")
    support = [table.column(f"label_support.{name}").to_numpy() for name in analysis.label_names]
    contrast.write(made, dict(zip(rows.tolist(), keys, strict=True)), support, peak)
    _write_directions(made, sae)
    neighbours = _neighbours(sae, latents["image_count"])
    partners = evaluated.partners(evaluation)
    write_blocks(made, analysis, order, (rows, keys), latents, shown, silent, neighbours, partners)
    write_names(made, (rows, keys), latents["top_rows"])
    write_strongest(made, latents)
    write_columns(made, evaluated.widened(table, evaluation), order)
    about = _about(analysis, activations, sae, latents, credit, sae_folder, train["summary"], large)
    said = {"evaluation": evaluated.described(evaluation, others)} if evaluation else {}
    if evaluation:
        about["evaluation"] = said["evaluation"]
        more = evaluated.columns(evaluation)
        about["columns"] += more
        about["orders"] += [column.name for column in more if column.format != "text"]
        about["filters"] += evaluated.filters(evaluation)
    write_bytes(made / names.PAGE, page("run", about))
    (made / "pictures").mkdir(exist_ok=True)
    keep_beside(out, analysis)
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
            **({f"{EVALUATE}/{evaluation.path.name}": evaluation.digest} if evaluation else {}),
        },
        "run": about["run"],
        "summary": analysis.summary,
        **said,
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


def _require_of(evaluation: Evaluation, analysis: Analysis) -> None:
    """Refuse an evaluation of an analysis that was replaced."""
    if evaluation.meta["inputs"].get(ANALYZE) != analysis.digest:
        raise UserError(
            f"{evaluation.path} wasn't made from the current result of the stage {ANALYZE}: run "
            f"the stage {EVALUATE} again"
        )


def _neighbours(sae: Sae, image_count: np.ndarray) -> tuple[list[list[int]], list[list[float]]]:
    """For each latent, the live latents with the nearest decoder directions, and their cosines."""
    directions = sae.W_dec.detach().cpu()
    live = np.flatnonzero(image_count > 0)
    # Each latent is the nearest to itself.
    near = nearest(directions, directions[torch.from_numpy(live)], N_NEIGHBOURS + 1, other=True)
    found, cosines = [], []
    for latent, (indices, values) in enumerate(zip(live[near.latent], near.cosine, strict=True)):
        kept = np.flatnonzero(indices != latent)[:N_NEIGHBOURS]
        found.append(indices[kept].tolist())
        cosines.append([round(cosine, 3) for cosine in values[kept].tolist()])
    return found, cosines


def _write_directions(out: Path, sae: Sae) -> None:
    """Write the decoder directions, with one byte for each component."""
    directions = sae.W_dec.detach().cpu().numpy()
    for number, first in enumerate(range(0, len(directions), names.BLOCK)):
        part = directions[first : first + names.BLOCK]
        largest = np.maximum(np.abs(part).max(1, keepdims=True), np.finfo(np.float32).tiny)
        signed = np.rint(127 * (part / largest)).astype(np.int8)
        content: Directions = [base64.b64encode(row.tobytes()).decode() for row in signed]
        write_bytes(out / names.directions(number), script(f"directions {number}", content))


def _write_heat(out: Path, heat: np.ndarray, order: np.ndarray) -> None:
    """Write heat maps (n, k, patches) in the order of the latents' data, with a bounded number in
    each script."""
    n, k, n_patches = heat.shape
    each = names.heat_latents(k * n_patches)
    for number, first in enumerate(range(0, n, each)):
        part: Heat = [packed(values) for values in heat[order[first : first + each]]]
        write_bytes(out / names.heat(number), script(f"heat {number}", part))


def _about(
    analysis: Analysis,
    activations: Activations,
    sae: Sae,
    latents: dict[str, np.ndarray],
    credit: str | None,
    sae_folder: Path,
    trained_summary: dict[str, Any],
    large: bool,
) -> About:
    """What the page says about the run, and how its data is laid out."""
    summary = activations.meta["summary"]
    stream = activations.streams[str(sae.stream)]
    k = int(latents["top_rows"].shape[1])
    rows = layout(k, bool(analysis.label_names))
    grid = summary["geometry"]["grid"] if stream.kind == "patches" else None
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
        "block": names.BLOCK,
        "data_latents": names.DATA_LATENTS,
        "folder": names.FOLDER,
        "heat_latents": names.heat_latents(rows[-1]["last"] * stream.n_patches),
        "contrast_labels": names.contrast_labels(sae.n_latents),
        "top_images": k,
        "large": large,
        "grid": grid,
        "cells": list(cells((grid[0], grid[1])).shape) if grid else None,
        "bin_edges": [rounded(float(edge)) for edge in latents["bin_edges"]],
        "labels": analysis.label_names,
        "columns": list(columns.COLUMNS),
        "orders": list(columns.ORDERS if labelled else columns.ORDERS_UNLABELLED),
        "rows": rows,
        "chips": list(columns.chips(labelled)),
        "card": list(columns.CARD if labelled else columns.CARD_UNLABELLED),
        "tiles": list(columns.TILES),
        "label_table": list(columns.LABEL_TABLE),
        "filters": list(columns.filters(labelled, n_images)),
        "summary": cast(Summary, analysis.summary),
        "credit": credit,
    }
