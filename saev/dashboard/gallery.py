"""The gallery: one page that lists all runs with their figures, curves and a few latents each."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc
from safetensors import safe_open

from saev.activations.artifact import STAGE as ACTIVATIONS
from saev.analyze.artifact import LATENTS, PURITY_IMAGES, Analysis
from saev.core.errors import UserError
from saev.core.files import canonical_json, read_json, write_bytes
from saev.core.made import recorded, require_as_made
from saev.core.meta import read_meta
from saev.core.spec import parsed
from saev.dashboard import artifact as names
from saev.dashboard.comparisons import Comparison
from saev.dashboard.evaluated import headlines, in_short, meanings
from saev.dashboard.frontier import frontiers
from saev.dashboard.page import page
from saev.dashboard.scripts import embedded
from saev.dashboard.structures import (
    Curve,
    Example,
    Figure,
    Gallery,
    GalleryRun,
    Lineage,
    Strips,
)
from saev.settings.baseline_runs import TOWER
from saev.settings.elsewhere import KEPT_SETTINGS
from saev.settings.sae import AnySaeSettings
from saev.train.artifact import CURVE
from saev.train.artifact import STAGE as TRAIN

N_EXAMPLES = 8
N_IMAGES = 4
SEED = 0
"""Of the latents that are drawn at random."""
CURVE_POINTS = 200
OTHERWISE = (KeyError, TypeError, ValueError, AttributeError)
"""What comes of files that hold something else than expected, if no record says so."""


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
            for folder in (*self.folder.parents[:2], self.folder, self.folder / names.FOLDER_NAME)
        ]


def all_runs(out: Path, runs: list[Path]) -> list[Listed]:
    """The analyses ``runs``, then all others under ``out`` that have a page."""
    known = {run.resolve() for run in runs}
    pages = sorted(out.glob(f"*/*/*/*/{names.FOLDER_NAME}/{names.SUMMARY}"))
    others = [path.parent.parent for path in pages if path.parent.parent.resolve() not in known]
    return [*(Listed(run, True) for run in runs), *(Listed(run, False) for run in others)]


def build_gallery(
    out: Path,
    runs: list[Listed],
    sweeps: dict[str, list[str]],
    comparisons: Sequence[Comparison] = (),
) -> list[str]:
    """Write `index.html` into ``out``. Return what it leaves out, and why.

    Args:
        out: the folder of results.
        runs: what to list.
        sweeps: for each swept entry, the directory names of its points. The top of the page
            compares them.
        comparisons: reports to link.

    Raises:
        UserError: a run that the settings name isn't complete. Others are left out.
    """
    listed, left_out, towers = [], [], {}
    for run in runs:
        try:
            found, tower = described(out, run.folder, run.current), tower_of(run.folder)
            embedded(found)  # else one NaN would keep the whole page from being written
            listed.append(found)
            towers[found["link"]] = tower
        except (UserError, *OTHERWISE) as error:
            if run.current:
                raise
            # Made by another version, damaged, or being made again right now.
            why = "its files aren't as this version writes them: make its page again"
            left_out.append(f"{run.folder}: {error if isinstance(error, UserError) else why}")
    name_untrained(listed, towers)
    content: Gallery = {"runs": listed, "frontiers": frontiers(listed, sweeps)}
    if told := meanings(run.get("measured", {}) for run in listed):
        content["meanings"] = told
    if comparisons:
        content["comparisons"] = list(comparisons)
    write_bytes(out / names.PAGE, page("gallery", content))
    return left_out


def described(out: Path, run: Path, current: bool) -> GalleryRun:
    """What the gallery says about a run.

    Args:
        out: the folder of results. Links are relative to it.
        run: directory of its analysis.
        current: whether the settings name it.

    Raises:
        UserError: it isn't complete, or was made by another version.
    """
    analysis = Analysis(run)
    analysis.require_format()
    train, _ = read_meta(run.parent, TRAIN)
    require_as_made(run / names.FOLDER_NAME, names.SUMMARY)
    summary = read_json(run / names.FOLDER_NAME / names.SUMMARY)
    of_this = summary["inputs"].get("analysis") == analysis.digest
    if not of_this or summary["summary"] != analysis.summary:
        raise UserError(
            f"the page of {run} wasn't made from its current analysis: run the stage "
            f"{names.STAGE} again"
        )
    require_as_made(run.parent, CURVE)
    link = names.link(out, run)
    listed: GalleryRun = {
        "current": current,
        "run": summary["run"],
        "link": link,
        "pictures": link.removesuffix(names.PAGE),
        "block": names.BLOCK,
        "data_latents": names.DATA_LATENTS,
        "folder": names.FOLDER,
        "summary": summary["summary"],
        "credit": summary["settings"]["credit"],
        "architecture": train["settings"]["architecture"],
        "telling": _telling(train["settings"]),
        "doubts": train["summary"].get("doubts", []),
        "settings": train["settings"],
        "final": train["summary"].get("final"),
        "curve": _curve(run.parent / CURVE),
        "strips": strips(analysis),
    }
    if found := headlines(summary.get("evaluation")):
        listed["evaluation"] = found
    if measured := in_short(summary.get("evaluation")):
        listed["measured"] = measured
    return listed


def name_untrained(runs: list[GalleryRun], towers: Mapping[str, dict[str, Any] | None]) -> None:
    """Tell each run which other one is the same with an untrained tower, if there is one.

    Such runs are made by `baselines: [untrained_tower]`. Their recordings differ in settings of the
    weights alone.

    Args:
        runs: the runs of the page; towers: settings of their recordings, by their links.
    """
    untrained: dict[str, str] = {}
    for run in runs:
        tower = towers[run["link"]]
        if tower and tower.get("weights") == "random":
            run["untrained"] = run["link"]
            untrained.setdefault(_but_for_weights(run["run"], tower), run["link"])
    for run in runs:
        tower = towers[run["link"]]
        found = tower and untrained.get(_but_for_weights(run["run"], tower))
        if found:
            run.setdefault("untrained", found)


def tower_of(run: Path) -> dict[str, Any] | None:
    """Settings of the recording that a run looks at; None if it was removed or altered."""
    try:
        settings: dict[str, Any] = read_meta(run.parent.parent, ACTIVATIONS)[0]["settings"]
    except UserError:
        return None
    return settings


def _but_for_weights(run: Lineage, tower: dict[str, Any]) -> str:
    """What runs have in common that differ in the weights of the tower alone."""
    same = {name: value for name, value in tower.items() if name not in TOWER}
    return canonical_json([{**run, "vit": None}, same])


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


def strips(analysis: Analysis) -> Strips:
    """A few latents: the first ones of the default order, and some drawn at random.

    Reads a few columns, and of the top images those of the chosen latents alone.
    """
    label = next(iter(analysis.label_names), None)
    columns = ["image_count", "positional", "dense", "n_valid"]
    of_label = ["order", "named", "top_label", "top_label_count", "top_label_base"]
    if label:
        columns += [f"{name}.{label}" for name in of_label]
    table = analysis.table(columns)
    image_count = table.column("image_count").to_numpy()
    live = np.flatnonzero(image_count > 0)
    if label:
        order = np.argsort(table.column(f"order.{label}").to_numpy())
    else:
        aside = pc.or_(table.column("positional"), table.column("dense")).to_numpy()
        order = np.lexsort((np.arange(len(aside)), -image_count, aside))
    first = order[np.isin(order, live)][:N_EXAMPLES]
    rng = np.random.default_rng(SEED)
    drawn = np.sort(rng.choice(live, min(N_EXAMPLES, len(live)), replace=False))
    with safe_open(analysis.path / LATENTS, "np") as tensors:
        top_rows = tensors.get_slice("top_rows")

        def example(latent: int) -> Example:
            figures = table.slice(latent, 1).to_pylist()[0]
            rows = top_rows[latent : latent + 1][0]
            named = bool(label) and figures[f"named.{label}"]
            return {
                "latent": latent,
                "label": figures[f"top_label.{label}"] if named else None,
                "count": figures[f"top_label_count.{label}"] if named else 0,
                "n_top": min(figures["n_valid"], PURITY_IMAGES),
                "base": figures[f"top_label_base.{label}"] if named else None,
                "pictures": [names.thumbnail(r) for r in rows[rows >= 0][:N_IMAGES].tolist()],
            }

        return {
            "first": [example(latent) for latent in first.tolist()],
            "drawn": [example(latent) for latent in drawn.tolist()],
            "n_live": len(live),
            "seed": SEED,
        }
