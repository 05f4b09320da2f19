"""The page of one run: pictures, heat maps, blocks of data, and the page itself."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from saev.artifacts import dashboard as names
from saev.artifacts.activations import Activations
from saev.artifacts.analysis import Analysis
from saev.artifacts.images import Images
from saev.artifacts.meta import read_meta, require_unaltered
from saev.dashboard.data import column, embedded, packed, rounded, script
from saev.dashboard.heatmaps import make_heatmaps
from saev.dashboard.pictures import make_pictures
from saev.errors import UserError
from saev.files import file_entry, folder_entry, write_bytes
from saev.progress import Progress
from saev.sae import Sae, load

ASSETS = Path(__file__).parent / "assets"
SCRIPTS = {"run": ("common", "data", "latent", "run"), "gallery": ("common", "gallery")}
"""Scripts of each page, in the order in which they run."""
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

    Everything is made in ``state`` first, so that a stopped build goes on where it was, and nothing
    of an older page is left.

    Args:
        out: the dashboard's directory.
        state: folder for what is being made.
        analysis: the analysis that is shown.
        sae_folder: directory of its dictionary.
        activations, images: what the analysis looked at.
        credit: whose pictures these are.
        threads: pictures are decoded with.
        device: the dictionary runs on.

    Returns:
        the content of `summary.json`, which is to be written last.

    Raises:
        UserError: something was altered since it was made.
    """
    require_unaltered(analysis.path, analysis.meta["files"])
    train, train_digest = read_meta(sae_folder, "train")
    _require_inputs(analysis, {"train": train_digest, "activations": activations.digest})
    latents, table = analysis.latents(), analysis.table()
    sae = load(sae_folder / "checkpoint.safetensors", device=str(device))
    stream = activations.streams[str(sae.stream)]
    top_rows = latents["top_rows"]
    made = state / "page"
    rows = np.unique(top_rows[top_rows >= 0])
    entries = images.entries(rows.tolist())
    keys = [entry.key for entry in entries]
    make_pictures(made, images, activations, entries, threads)
    if stream.kind == "patches":
        peak = np.maximum(latents["top_values"][:, 0], np.finfo(np.float32).tiny)
        heat = make_heatmaps(state / "heat.npy", sae, activations, stream, top_rows, peak)
        _write_heat(made, heat)
    _write_blocks(made, analysis, (rows, keys), latents, _neighbours(sae, latents["image_count"]))
    columns = {name: column(table.column(name).to_pylist()) for name in table.column_names}
    write_bytes(made / names.FIGURES, script("latents", columns))
    about = _about(analysis, activations, sae, latents, credit, sae_folder, train["settings"])
    write_bytes(made / names.PAGE, page("run", about))
    (made / "pictures").mkdir(exist_ok=True)
    for part in ("data", "pictures", names.PAGE):
        if (out / part).is_dir():
            shutil.rmtree(out / part)
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


def page(name: str, content: Any) -> bytes:
    """One HTML file from a template, its style and script and its data: nothing else is needed."""
    template = (ASSETS / f"{name}.html").read_text(encoding="utf-8")
    style = (ASSETS / "style.css").read_text(encoding="utf-8")
    scripts = [(ASSETS / f"{part}.js").read_text(encoding="utf-8") for part in SCRIPTS[name]]
    code = "\n".join(scripts)
    for slot, text in (("STYLE", style), ("SCRIPT", code), ("DATA", embedded(content))):
        template = template.replace(f"/*{slot}*/", text, 1)
    return template.encode()


def _require_inputs(analysis: Analysis, digests: dict[str, str]) -> None:
    """Refuse a dictionary or activations that aren't those that were analysed."""
    for name, digest in digests.items():
        if analysis.meta["inputs"].get(name) != digest:
            raise UserError(
                f"{analysis.path} was made from another result of the stage {name} than the one that "
                f"is there now: run the stage analyze again"
            )


def _neighbours(sae: Sae, image_count: np.ndarray) -> tuple[list[list[int]], list[list[float]]]:
    """For each latent the live ones with the nearest decoder directions, and their cosines."""
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
    """Write heat maps (n, k, patches), a bounded number of latents a script."""
    n, k, n_patches = heat.shape
    each = names.heat_latents(k * n_patches)
    for number, first in enumerate(range(0, n, each)):
        part = [packed(values) for values in heat[first : first + each]]
        write_bytes(out / names.heat(number), script(f"heat {number}", part))


def _write_blocks(
    out: Path,
    analysis: Analysis,
    pictures: tuple[np.ndarray, list[str]],
    latents: dict[str, np.ndarray],
    neighbours: tuple[list[list[int]], list[list[float]]],
) -> None:
    n = len(latents["top_rows"])
    progress = Progress(n, "latents", "writing data")
    for number, first in enumerate(range(0, n, names.BLOCK_LATENTS)):
        part = slice(first, min(first + names.BLOCK_LATENTS, n))
        top_rows = latents["top_rows"][part]
        rows = np.unique(top_rows[top_rows >= 0])
        keys = [pictures[1][at] for at in np.searchsorted(pictures[0], rows)]
        described = zip(rows.tolist(), keys, analysis.labels.take(rows), strict=True)
        block: dict[str, Any] = {
            "images": {str(row): [key, *labels.values()] for row, key, labels in described},
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
    training: dict[str, Any],
) -> dict[str, Any]:
    """What the page says of the run, and how its data is laid out."""
    summary = activations.meta["summary"]
    stream = activations.streams[str(sae.stream)]
    k = int(latents["top_rows"].shape[1])
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
        "k": training.get("k"),
        "l1": training.get("l1"),
        "n_latents": sae.n_latents,
        "d": sae.d,
        "block": names.BLOCK_LATENTS,
        "folder": names.FOLDER,
        "heat_latents": names.heat_latents(k * stream.n_patches),
        "top_images": k,
        "grid": summary["geometry"]["grid"] if stream.kind == "patches" else None,
        "bin_edges": [rounded(float(edge)) for edge in latents["bin_edges"]],
        "labels": analysis.labels.names,
        "summary": analysis.summary,
        "credit": credit,
    }
