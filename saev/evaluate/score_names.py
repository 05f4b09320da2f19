"""Scores the names that people gave to latents: see `saev.evaluate.named`.

    python -m saev.evaluate.score_names --spec JSON --analysis DIR --sae DIR --activations DIR \\
        --out DIR

Its settings are `names`, the file, and `sha256`, that of the dictionary's names in it.
"""

import argparse
from pathlib import Path
from typing import Any

from saev.analyze.artifact import STAGE as ANALYZE
from saev.analyze.artifact import Analysis
from saev.analyze.names_file import FEWEST_NAMES, digest_of, distinct, n_texts, read_names
from saev.core import frame, logs
from saev.core.errors import UserError
from saev.core.files import file_entry, write_json
from saev.core.machine import job_device, set_threads
from saev.core.once import Once
from saev.core.spec import read_spec
from saev.evaluate.artifact import SCORES
from saev.settings import from_plan
from saev.settings.pages import ScoreSettings

SEED = 0
FORMAT = 1


def main(arguments: list[str]) -> None:
    """Score the names of one dictionary."""
    parser = frame.parser(str(__doc__))
    frame.add_folders(
        parser, analysis="analysis", sae="dictionary", activations="activations", out="page"
    )
    _score(parser.parse_args(arguments))


def _score(given: argparse.Namespace) -> None:
    spec = read_spec(given.spec)
    settings: ScoreSettings = spec.parsed(ScoreSettings)
    results = given.sae.parents[2]
    dictionary = given.sae.relative_to(results).as_posix()
    named = distinct(read_names("analysis.names", Path(settings.names)), dictionary)
    if digest_of(named) != settings.sha256:
        raise UserError(f"{settings.names} was changed since the workflow started: start it again")
    analysis = Analysis(given.analysis)
    once = Once(given.done, given.out, settings.sha256, spec.code, analysis.digest)
    if once.there():
        return once.take_up()
    frame.require_same_code()
    set_threads(given.threads)
    found = _scores(given, analysis, named)
    for line in _told(found):
        logs.say(line)
    write_json(given.out / SCORES, {**found, "dictionary": dictionary, "sha256": settings.sha256})
    once.finish([file_entry(given.out / SCORES)], spec.code, {ANALYZE: analysis.digest})


def _scores(
    given: argparse.Namespace, analysis: Analysis, named: list[tuple[int, str]]
) -> dict[str, Any]:
    """What `names.json` says."""
    import numpy as np

    from saev.activations.towers.again import recorded_settings
    from saev.activations.towers.text_tower import load_text_tower
    from saev.analyze.inputs import open_inputs
    from saev.evaluate import named as measure
    from saev.evaluate.crops import centred, embed
    from saev.evaluate.results import Measured, mean_of
    from saev.evaluate.tower_outputs import Rerun
    from saev.settings.analysis import AnalysisSettings

    if n_texts(named) < FEWEST_NAMES:
        raise UserError(f"{FEWEST_NAMES} different names are needed to score them")
    device = job_device(from_plan.compute().device)
    on = AnalysisSettings(on=analysis.meta["settings"].get("on"))
    inputs = open_inputs(on, given.sae, given.activations, None, device)
    recording = inputs.activations
    latents = np.array(sorted({latent for latent, _ in named}))
    rows = measure.judging_rows(inputs, SEED)
    shown = analysis.latents()["top_rows"][latents]
    seen = measure.sightings(inputs, latents, rows, shown, SEED)
    spelled = {name.casefold(): name for _, name in named}
    texts = sorted(spelled)
    right: dict[tuple[int, str], Any] = {}
    if len(seen.row):
        text_tower = load_text_tower(recorded_settings(recording.meta, recording.path), device)
        of_texts = centred(text_tower([spelled[text] for text in texts]))
        del text_tower
        rerun = Rerun(recording, recording.path.parent, device, given.threads)
        of_images = centred(embed(rerun, seen.row, seen.patch))
    for latent, name in named:
        at = np.flatnonzero(seen.latent == latent)
        if len(at) < measure.FEWEST:
            right[latent, name] = np.zeros(len(at), bool)
            continue
        true = texts.index(name.casefold())
        asked = [
            measure.candidates(texts, true, latent, row, SEED) for row in seen.row[at].tolist()
        ]
        right[latent, name] = measure.is_first(of_images[at], of_texts, np.stack(asked))
    scores = [
        {"latent": latent, "name": name, **measure.score(one)}
        for (latent, name), one in right.items()
    ]
    shares = np.array([s["hits"] / s["n"] for s in scores if s["hits"] is not None])
    # The interval resamples names: one of them says nothing about others.
    mean = mean_of(shares, SEED) if len(shares) > 1 else Measured(*shares.tolist() or [None])
    return {
        "format": FORMAT,
        "candidates": FEWEST_NAMES,
        "chance": 1 / FEWEST_NAMES,
        "fewest": measure.FEWEST,
        "most": measure.MOST,
        "seed": SEED,
        "n_names": len(scores),
        "n_scored": len(shares),
        "mean": mean.value,
        "interval": mean.entry()["interval"],
        "scores": scores,
    }


def _told(found: dict[str, Any]) -> list[str]:
    """What the log says."""
    few = found["n_names"] - found["n_scored"]
    lines = []
    if found["n_scored"]:
        ends = found["interval"]
        interval = f"{ends[0]:.0%} to {ends[1]:.0%}; " if ends else ""
        lines.append(
            f"names scored: {found['n_scored']:,}. On {found['mean']:.0%} of held-out images the "
            f"true name is the first of five ({interval}chance 20%)"
        )
    if few:
        lines.append(
            f"{few:,} of {found['n_names']:,} names have no score: their latents fire on fewer "
            f"than {found['fewest']} held-out images that weren't shown"
        )
    return lines


if __name__ == "__main__":
    frame.run(main)
