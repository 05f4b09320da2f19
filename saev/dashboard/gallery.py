"""The gallery: one page that lists all runs with their figures, curves and a few latents each."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from saev.artifacts import dashboard as names
from saev.artifacts.analysis import Analysis
from saev.artifacts.meta import read_meta
from saev.dashboard.build import page
from saev.dashboard.frontier import frontiers
from saev.errors import UserError
from saev.files import read_json, write_bytes

N_EXAMPLES = 8
N_PICTURES = 4
MIN_IMAGES = 16
CURVE_POINTS = 200


def build_gallery(out: Path, runs: list[Path], sweeps: dict[str, list[str]]) -> None:
    """Write `index.html` into ``out``, which lists the analyses ``runs``, then all others under ``out``.

    Args:
        out: the folder of results.
        runs: directories of analyses.
        sweeps: directory names of the points of each swept entry; they are compared at the top.

    Raises:
        UserError: one of ``runs`` isn't complete.
    """
    listed = [_run(out, run) | {"current": True} for run in runs]
    known = {run.resolve() for run in runs}
    for path in sorted(out.glob(f"*/*/*/*/dashboard/{names.SUMMARY}")):
        other = path.parent.parent
        if other.resolve() not in known:
            with suppress(UserError):  # made by other code, or being made anew
                listed.append(_run(out, other) | {"current": False})
    content = {"runs": listed, "frontiers": frontiers(listed, sweeps)}
    write_bytes(out / names.PAGE, page("gallery", content))


def _run(out: Path, run: Path) -> dict[str, Any]:
    analysis = Analysis(run)
    train, _ = read_meta(run.parent, "train")
    summary = read_json(run / "dashboard" / names.SUMMARY)
    # Links hold wherever the results are moved to, as long as they are moved together.
    relative = Path(os.path.relpath(run.resolve(), out.resolve())).as_posix()
    return {
        "run": summary["run"],
        "link": f"{relative}/dashboard/{names.PAGE}",
        "pictures": f"{relative}/dashboard/",
        "summary": summary["summary"],
        "credit": summary["settings"]["credit"],
        "architecture": train["settings"]["architecture"],
        "settings": train["settings"],
        "final": train["summary"].get("final"),
        "curve": _curve(run.parent / "train.jsonl"),
        "examples": _examples(analysis),
    }


def _curve(path: Path) -> dict[str, list]:
    """Steps with the nmse of training and held-out vectors, thinned to what a small plot shows."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    every = max(1, len(lines) // CURVE_POINTS)
    training = [[e["step"], e["nmse"]] for e in lines[::every] if e.get("nmse") is not None]
    held_out = [[e["step"], e["eval_nmse"]] for e in lines if e.get("eval_nmse") is not None]
    return {"train": training, "held_out": held_out}


def _examples(analysis: Analysis) -> list[dict[str, Any]]:
    """A few latents worth a look: of one label if there are labels, else spread over frequency."""
    table = analysis.table()
    latents = analysis.latents()
    image_count = np.asarray(latents["image_count"])
    live = np.flatnonzero(image_count >= MIN_IMAGES)
    if not len(live):
        live = np.flatnonzero(image_count > 0)
    label = next(iter(analysis.labels.names), None)
    if label:
        purity = table.column(f"label_purity_top.{label}").to_pylist()
        tops = table.column(f"top_label.{label}").to_pylist()
        best: dict[str, int] = {}
        # One latent a label, the purest first, so that the strip shows how different they are.
        for latent in sorted(live.tolist(), key=lambda j: (-(purity[j] or 0), -image_count[j], j)):
            if tops[latent] is not None:
                best.setdefault(tops[latent], latent)
        chosen = list(best.values())[:N_EXAMPLES]
        rest = [j for j in live.tolist() if j not in set(chosen)]
        chosen += sorted(rest, key=lambda j: (-(purity[j] or 0), j))[: N_EXAMPLES - len(chosen)]
    else:
        by_count = live[np.argsort(image_count[live], kind="stable")]
        at = np.linspace(0, max(0, len(by_count) - 1), min(N_EXAMPLES, len(by_count)))
        chosen = by_count[at.astype(int)].tolist()
        tops = [None] * len(image_count)
    out = []
    for latent in chosen:
        rows = latents["top_rows"][latent]
        rows = rows[rows >= 0][:N_PICTURES].tolist()
        out.append(
            {"latent": latent, "label": tops[latent], "pictures": [names.picture(r) for r in rows]}
        )
    return out
