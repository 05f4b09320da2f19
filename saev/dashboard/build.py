"""The page of one run: pictures, heat maps, blocks of data, and the page itself."""

import base64
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
from saev.dashboard.data import column, embedded, rounded, script
from saev.dashboard.heatmaps import make_heatmaps
from saev.dashboard.pictures import keys_of, make_pictures
from saev.files import file_entry, sha256_bytes, write_bytes
from saev.progress import Progress
from saev.sae import Sae, load

ASSETS = Path(__file__).parent / "assets"
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
    latents, table = analysis.latents(), analysis.table()
    sae = load(sae_folder / "checkpoint.safetensors", device=str(device))
    stream = activations.streams[str(sae.stream)]
    top_rows = latents["top_rows"]
    made = state / "page"
    make_pictures(made, images, activations, np.unique(top_rows[top_rows >= 0]), threads)
    heat = None
    if stream.kind == "patches":
        peak = np.maximum(latents["top_values"][:, 0], np.finfo(np.float32).tiny)
        heat = make_heatmaps(state / "heat.npy", sae, activations, stream, top_rows, peak)
    _write_blocks(made, analysis, images, latents, heat, _neighbours(sae))
    columns = {name: column(table.column(name).to_pylist()) for name in table.column_names}
    write_bytes(made / names.FIGURES, script("saev.latents", columns))
    about = _about(analysis, activations, sae, latents, credit, sae_folder)
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
            *(_folder_entry(out, folder) for folder in ("data", "pictures")),
        ],
    }


def page(name: str, content: Any) -> bytes:
    """One HTML file from a template, its style and script and its data: nothing else is needed."""
    template = (ASSETS / f"{name}.html").read_text(encoding="utf-8")
    style = (ASSETS / "style.css").read_text(encoding="utf-8")
    code = "".join((ASSETS / f"{part}.js").read_text(encoding="utf-8") for part in ("common", name))
    for slot, text in (("STYLE", style), ("SCRIPT", code), ("DATA", embedded(content))):
        template = template.replace(f"/*{slot}*/", text, 1)
    return template.encode()


def _folder_entry(out: Path, folder: str) -> dict[str, Any]:
    """One combined entry for the files of a folder: `saev check` needn't list thousands."""
    paths = sorted(p for p in (out / folder).rglob("*") if p.is_file())
    entries = [
        (str(p.relative_to(out)), p.stat().st_size, sha256_bytes(p.read_bytes())) for p in paths
    ]
    text = "".join(f"{name}\0{size}\0{sha256}\n" for name, size, sha256 in entries)
    return {
        "name": folder,
        "bytes": sum(size for _, size, _ in entries),
        "sha256": sha256_bytes(text.encode()),
    }


def _neighbours(sae: Sae) -> tuple[np.ndarray, np.ndarray]:
    """Latents with the nearest decoder directions: (n, m) int64, and their cosines (n, m) float32."""
    directions = sae.W_dec.detach().cpu()
    m = min(N_NEIGHBOURS, len(directions) - 1)
    found, cosines = [], []
    for first in range(0, len(directions), NEIGHBOUR_ROWS):
        rows = directions[first : first + NEIGHBOUR_ROWS]
        cosine = rows @ directions.T
        own = torch.arange(len(rows))
        cosine[own, first + own] = -2
        best = cosine.topk(m, dim=1)
        found.append(best.indices.numpy())
        cosines.append(best.values.numpy())
    return np.concatenate(found), np.concatenate(cosines)


def _write_blocks(
    out: Path,
    analysis: Analysis,
    images: Images,
    latents: dict[str, np.ndarray],
    heat: np.ndarray | None,
    neighbours: tuple[np.ndarray, np.ndarray],
) -> None:
    n = len(latents["top_rows"])
    progress = Progress(n, "latents", "writing data")
    for number, first in enumerate(range(0, n, names.BLOCK_LATENTS)):
        part = slice(first, min(first + names.BLOCK_LATENTS, n))
        top_rows = latents["top_rows"][part]
        rows = np.unique(top_rows[top_rows >= 0])
        described = zip(
            rows.tolist(), keys_of(images, rows), analysis.labels.take(rows), strict=True
        )
        shown = {str(row): [key, *labels.values()] for row, key, labels in described}
        block: dict[str, Any] = {
            "first": first,
            "images": shown,
            "rows": top_rows.tolist(),
            "values": [column(values) for values in latents["top_values"][part]],
            "patches": latents["top_patches"][part].tolist(),
            "histogram": [_sparse(counts) for counts in latents["histogram"][part]],
            "neighbours": neighbours[0][part].tolist(),
            "cosines": [[round(float(c), 3) for c in row] for row in neighbours[1][part]],
        }
        if heat is not None:
            block["heat"] = [base64.b64encode(h.tobytes()).decode() for h in heat[part]]
        write_bytes(out / names.block(number), script("saev.block", block))
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
) -> dict[str, Any]:
    """What the page says of the run, and how its data is laid out."""
    summary = activations.meta["summary"]
    stream = activations.streams[str(sae.stream)]
    train, _ = read_meta(sae_folder, "train")
    return {
        "run": {
            "images": activations.path.parent.name,
            "vit": activations.path.name,
            "sae": sae_folder.name,
            "analysis": analysis.path.name,
        },
        "model": summary["model"],
        "stream": stream.name,
        "architecture": sae.architecture,
        "training": {key: train["settings"].get(key) for key in ("k", "l1", "epochs", "lr")},
        "n_latents": sae.n_latents,
        "d": sae.d,
        "block": names.BLOCK_LATENTS,
        "folder_pictures": names.FOLDER_PICTURES,
        "top_images": int(latents["top_rows"].shape[1]),
        "grid": summary["geometry"]["grid"] if stream.kind == "patches" else None,
        "bin_edges": [rounded(float(edge)) for edge in latents["bin_edges"]],
        "labels": analysis.labels.names,
        "summary": analysis.summary,
        "credit": credit,
    }
