"""The gallery: one page that lists all runs with their figures, curves and a few latents each."""

import itertools
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from safetensors import safe_open

from saev.analyze.artifact import LATENTS, TABLE, Analysis
from saev.analyze.columns import NAMED_BELOW
from saev.core.errors import UserError
from saev.core.files import read_json, write_bytes
from saev.core.made import recorded, require_as_made
from saev.core.meta import read_meta
from saev.core.spec import parsed
from saev.dashboard import artifact as names
from saev.dashboard.frontier import frontiers
from saev.dashboard.page import page
from saev.dashboard.structures import Curve, Example, Figure, Gallery, GalleryRun
from saev.settings.elsewhere import KEPT_SETTINGS
from saev.settings.sae import AnySaeSettings
from saev.train.artifact import CURVE
from saev.train.artifact import STAGE as TRAIN

N_EXAMPLES = 8
N_IMAGES = 4
MIN_IMAGES = 16
CURVE_POINTS = 200


class Listed(NamedTuple):
    """A run that the page lists."""

    folder: Path
    """Directory of its analysis."""
    current: bool
    """Whether the settings name it."""

    def made(self) -> list[dict[str, str]]:
        """What its jobs made of the files that the page reads: SHA-256 by name."""
        return [
            recorded(folder)
            for folder in (self.folder.parent, self.folder, self.folder / names.FOLDER_NAME)
        ]


def all_runs(out: Path, runs: list[Path]) -> list[Listed]:
    """The analyses ``runs``, then all others under ``out`` that have a page."""
    known = {run.resolve() for run in runs}
    pages = sorted(out.glob(f"*/*/*/*/{names.FOLDER_NAME}/{names.SUMMARY}"))
    others = [path.parent.parent for path in pages if path.parent.parent.resolve() not in known]
    return [*(Listed(run, True) for run in runs), *(Listed(run, False) for run in others)]


def build_gallery(out: Path, runs: list[Listed], sweeps: dict[str, list[str]]) -> list[str]:
    """Write `index.html` into ``out``. Return what it leaves out, and why.

    Args:
        out: the folder of results.
        runs: what to list.
        sweeps: for each swept entry, the directory names of its points. The top of the page
            compares them.

    Raises:
        UserError: a run that the settings name isn't complete. Others are left out.
    """
    listed, left_out = [], []
    for run in runs:
        try:
            listed.append(_run(out, run.folder, run.current))
        except UserError as error:
            if run.current:
                raise
            # Made by another version, damaged, or being made again right now.
            left_out.append(f"{run.folder}: {error}")
    content: Gallery = {"runs": listed, "frontiers": frontiers(listed, sweeps)}
    write_bytes(out / names.PAGE, page("gallery", content))
    return left_out


def _run(out: Path, run: Path, current: bool) -> GalleryRun:
    analysis = Analysis(run)
    train, _ = read_meta(run.parent, TRAIN)
    require_as_made(run / names.FOLDER_NAME, names.SUMMARY)
    summary = read_json(run / names.FOLDER_NAME / names.SUMMARY)
    require_as_made(run.parent, CURVE)
    # Links are relative: they still work if all results are moved together.
    relative = Path(os.path.relpath(run.resolve(), out.resolve())).as_posix()
    return {
        "current": current,
        "run": summary["run"],
        "link": f"{relative}/dashboard/{names.PAGE}",
        "pictures": f"{relative}/dashboard/",
        "summary": summary["summary"],
        "credit": summary["settings"]["credit"],
        "architecture": train["settings"]["architecture"],
        "telling": _telling(train["settings"]),
        "doubts": train["summary"].get("doubts", []),
        "settings": train["settings"],
        "final": train["summary"].get("final"),
        "curve": _curve(run.parent / CURVE),
        "examples": examples(analysis),
    }


def _telling(settings: dict[str, Any]) -> dict[str, Figure]:
    # To make a validator of all architectures takes longer than the rest of a run.
    known = KEPT_SETTINGS.get(settings["architecture"], AnySaeSettings)
    return parsed(known, settings).in_short()


def _curve(path: Path) -> Curve:
    """The nmse on training and held-out vectors by step, thinned out for a small plot."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    every = max(1, len(lines) // CURVE_POINTS)
    training = [[e["step"], e["nmse"]] for e in lines[::every] if e.get("nmse") is not None]
    held_out = [[e["step"], e["eval_nmse"]] for e in lines if e.get("eval_nmse") is not None]
    return {"train": training, "held_out": held_out}


def examples(analysis: Analysis) -> list[Example]:
    """A few latents worth a look: each for one label, or without labels spread over frequencies.

    Reads a few columns, and of the top images those of the chosen latents alone.
    """
    label = next(iter(analysis.label_names), None)
    with safe_open(analysis.path / LATENTS, "np") as tensors:
        image_count = tensors.get_tensor("image_count")
        live = np.flatnonzero(image_count >= MIN_IMAGES)
        if not len(live):
            live = np.flatnonzero(image_count > 0)
        if label:
            names_of = _labelled(analysis, label, live, image_count[live])
        else:
            by_count = live[np.argsort(image_count[live], kind="stable")]
            at = np.linspace(0, max(0, len(by_count) - 1), min(N_EXAMPLES, len(by_count)))
            names_of = dict.fromkeys(by_count[at.astype(int)].tolist())
        top_rows = tensors.get_slice("top_rows")
        rows = [top_rows[latent : latent + 1][0] for latent in names_of]
    return [
        {
            "latent": latent,
            "label": name,
            "pictures": [names.thumbnail(r) for r in shown[shown >= 0][:N_IMAGES].tolist()],
        }
        for (latent, name), shown in zip(names_of.items(), rows, strict=True)
    ]


def _labelled(
    analysis: Analysis, label: str, live: np.ndarray, image_count: np.ndarray
) -> dict[int, str | None]:
    """Latents and what they are called: one per label, the purest first, then the next purest.

    So the strip shows how different they are.
    """
    columns = [f"label_purity_top.{label}", f"top_label.{label}", f"label_chance.{label}"]
    table = pq.read_table(analysis.path / TABLE, columns=columns).take(live)
    purity = np.nan_to_num(table.column(0).to_numpy().astype(np.float64))
    chance = np.nan_to_num(table.column(2).to_numpy().astype(np.float64))
    named = pa.array(chance < NAMED_BELOW, pa.bool_())
    tops = pc.if_else(named, table.column(1).combine_chunks(), None)
    best: dict[str, int] = {}
    for i in np.lexsort((live, -image_count, -purity)).tolist():
        if len(best) == N_EXAMPLES:
            break
        if (name := tops[i].as_py()) is not None:
            best.setdefault(name, i)
    chosen = list(best.values())
    others = (i for i in np.lexsort((live, -purity)).tolist() if i not in chosen)
    chosen += itertools.islice(others, N_EXAMPLES - len(chosen))
    return {int(live[i]): tops[i].as_py() for i in chosen}
