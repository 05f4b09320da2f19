"""`saev push`: puts a dictionary on the Hugging Face hub, with a model card."""

import shutil
from pathlib import Path
from typing import Any

from saev.api.places import dictionary_of, folder_of
from saev.core.errors import UserError
from saev.core.files import read_json, sha256_file, write_bytes
from saev.core.meta import META, RUN, read_meta
from saev.dashboard.artifact import FOLDER_NAME, SUMMARY
from saev.tools.export import require_new
from saev.train import artifact as trained

CARD = "README.md"
FIGURES = {"nmse": "nmse", "l0": "L0", "pca_nmse": "nmse of a PCA of the same L0"}
SPLITS = {
    "train": "training images",
    "held_out": "held-out images",
    "other": "images it wasn't trained on",
}


def push(path: Path, repo: str, licence: str, dry_run: Path | None) -> list[str]:
    """Write the checkpoint and its card into a folder, and upload it unless it's a dry run.

    Args:
        path: a run, or a dictionary; repo: ``owner/name`` on the hub.
        licence: its licence, as the hub calls it.
        dry_run: the folder to write instead of uploading.

    Returns:
        lines to print.

    Raises:
        UserError: the dictionary is missing or altered, the folder has files, or the hub refuses.
    """
    given = folder_of(path)
    folder = dictionary_of(given)
    trained.load(folder)  # refuses an altered checkpoint
    text = card(folder, given if given != folder else None, repo, licence)
    if dry_run is not None:
        require_new(dry_run)
        written(folder, text, dry_run)
        return [f"Wrote {dry_run / trained.CHECKPOINT} and {dry_run / CARD}. Uploaded nothing."]
    return [_upload(folder, text, repo)]


def written(folder: Path, text: str, out: Path) -> None:
    """Write what is uploaded into ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / trained.CHECKPOINT, out / trained.CHECKPOINT)
    write_bytes(out / CARD, text.encode())


def _upload(folder: Path, text: str, repo: str) -> str:
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(repo, exist_ok=True)
        api.upload_file(
            path_or_fileobj=folder / trained.CHECKPOINT,
            path_in_repo=trained.CHECKPOINT,
            repo_id=repo,
        )
        made = api.upload_file(path_or_fileobj=text.encode(), path_in_repo=CARD, repo_id=repo)
    except Exception as error:
        # The hub's client raises errors of several libraries.
        line = str(error).strip().partition("\n")[0]
        raise UserError(
            f"can't push to {repo}: {line}. Log in with: hf auth login; the name is OWNER/NAME"
        ) from error
    return f"Pushed to {getattr(made, 'repo_url', None) or f'https://huggingface.co/{repo}'}"


def card(folder: Path, run: Path | None, repo: str, licence: str) -> str:
    """The model card.

    Args:
        folder: the dictionary; run: an analysis of it, for more figures.
        repo: where it will lie; licence: its licence.
    """
    meta, _ = read_meta(folder, trained.STAGE)
    settings, images, recording = meta["settings"], folder.parent.parent, folder.parent
    tower = read_meta(recording, "activations")[0] if (recording / META).is_file() else {}
    kind = settings["architecture"]
    if meta["summary"].get("converted"):
        kind = f"{settings['trained_as']} (converted from the format of {settings['format']})"
    lines = [
        *("---", f"license: {licence}", "library_name: saev-workflow"),
        *("tags: [sparse-autoencoder, interpretability, vision]", "---", ""),
        f"# {repo.partition('/')[2]}",
        "",
        f"A dictionary (sparse autoencoder) of {settings['n_latents']:,} latents: {kind}.",
        "",
        *("## Use", "", "```python", "import saev; from huggingface_hub import snapshot_download"),
        f'sae = saev.load(snapshot_download("{repo}"))',
        "z = sae.encode(x)  # x: activations of the tower below, (…, d) float32",
        *("```", ""),
        f"In the settings of saev: `checkpoint: hf://{repo}@main`.",
        *("", "## Figures", "", *_figures(meta, run)),
        *("", "## Lineage", "", *_lineage(folder, images, tower, run)),
        *("", "## Settings", "", "| key | value |", "| --- | --- |"),
        *(f"| `{key}` | {value} |" for key, value in sorted(settings.items())),
        "",
    ]
    return "\n".join(lines)


def _figures(meta: dict[str, Any], run: Path | None) -> list[str]:
    last = meta["summary"]["final"]
    rows = [["", "nmse", "L0"]]
    for name, prefix in (("training", ""), ("held out", "eval_")):
        if last.get(f"{prefix}nmse") is not None:
            rows.append([name, *(f"{last[prefix + key]:.4g}" for key in ("nmse", "l0"))])
    if run is None:
        return [*_table(rows), "", *_doubts(meta)]
    summary = read_meta(run, "analyze")[0]["summary"]
    rows = [["", "images", *FIGURES.values()]]
    for name, title in SPLITS.items():
        found = summary["splits"].get(name)
        if found:
            shown = [found.get(key) for key in FIGURES]
            values = ["" if value is None else f"{value:.4g}" for value in shown]
            rows.append([title, f"{found['n_images']:,}", *values])
    dead = f"{summary['all']['n_dead']:,} of {summary['n_latents']:,} latents never fire on them."
    return [*_table(rows), "", dead, "", *_doubts(meta)]


def _doubts(meta: dict[str, Any]) -> list[str]:
    return [f"- {doubt}" for doubt in meta["summary"].get("doubts", [])]


def _table(rows: list[list[str]]) -> list[str]:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [lines[0], f"|{' --- |' * len(rows[0])}", *lines[1:]]


def _input(geometry: dict[str, Any] | None) -> str | None:
    if geometry is None:
        return None
    rows, columns = geometry["grid"]
    return f"{geometry['image_size']} px, {rows} × {columns} patches"


def _lineage(folder: Path, images: Path, tower: dict[str, Any], run: Path | None) -> list[str]:
    about, recorded = tower.get("summary", {}), tower.get("settings", {})
    made = read_json(folder / RUN) if (folder / RUN).is_file() else {}
    listed = read_json(images / META) if (images / META).is_file() else {}
    meta, _ = read_meta(folder, trained.STAGE)
    page = run / FOLDER_NAME / SUMMARY if run else None
    credit = read_json(page)["settings"].get("credit") if page and page.is_file() else None
    rows = {
        "result": "/".join(folder.resolve().parts[-3:]),
        "tower": about.get("model"),
        "its input": _input(about.get("geometry")),
        "weights": recorded.get("weights"),
        "SHA-256 of the weights": about.get("weights_sha256"),
        "layer": meta["settings"].get("layer"),
        "tokens": meta["settings"]["tokens"],
        "images": listed.get("summary", {}).get("n_images"),
        "credit": credit,
        "SHA-256 of the checkpoint": sha256_file(folder / trained.CHECKPOINT),
        "saev-workflow": made.get("versions", {}).get("saev-workflow"),
        "revision": made.get("git"),
        "code": made.get("code"),
    }
    return _table([["", ""], *([k, str(v)] for k, v in rows.items() if v is not None)])
