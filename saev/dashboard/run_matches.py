"""Matches the latents of runs that are too large for a browser; the gallery shows the pairs.

    python -m saev.dashboard.run_matches --spec JSON [--runs DIR …] --out results

Matches as the browser does: of the latents that fire, one to one, the largest cosine of decoder
directions first, if it is larger than chance. A pair of runs that is matched already is taken up.
"""

import base64
import json
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from saev.analyze.artifact import Analysis
from saev.analyze.neighbours import Nearest, nearest
from saev.core import frame, logs
from saev.core.errors import UserError
from saev.core.files import canonical_json, sha256_bytes, write_bytes
from saev.core.machine import job_device, set_threads
from saev.core.meta import read_meta
from saev.core.spec import read_spec
from saev.dashboard import artifact as names
from saev.dashboard.scripts import script
from saev.settings import from_plan
from saev.train import artifact as trained

if TYPE_CHECKING:  # Otherwise what is new on the page would match runs anew.
    from saev.dashboard.structures import MatchedRuns, PackedPairs, RunMatch

BROWSER = 8192
"""A browser matches runs of no more latents than this; see `run_pairs.js`."""
MOST_PAIRS = 36
"""How many pairs are matched, as their number grows with the square of the runs: all of 9 runs."""
CANDIDATES = 16
"""Latents of the other run among which a latent looks for its partner."""


def match_runs(
    out: Path,
    runs: list[Path],
    sweeps: dict[str, list[str]],
    code: str,
    device: torch.device,
    above: int = BROWSER,
) -> None:
    """Match the pairs of runs that can be compared and of which one has many latents.

    Args:
        out: the folder of results.
        runs: directories of analyses.
        sweeps: for each swept entry, the directory names of its points. Their pairs come first.
        code: digest of this code.
        device: where to compare directions.
        above: match pairs of which one has more latents.
    """
    streams = {run: _stream(run) for run in runs}
    pairs = [
        (a, b)
        for a, b in combinations(runs, 2)
        if a.parent != b.parent
        and streams[a] == streams[b]
        and max(Analysis(run).meta["summary"]["n_latents"] for run in (a, b)) > above
    ]
    points = [set(of) for of in sweeps.values()]
    pairs.sort(key=lambda pair: not any({run.parent.name for run in pair} <= of for of in points))
    index: MatchedRuns = {"pairs": [], "n_left_out": len(pairs[MOST_PAIRS:])}
    for number, pair in enumerate(pairs[:MOST_PAIRS], 1):
        links = [
            f"{run.relative_to(out).as_posix()}/{names.FOLDER_NAME}/{names.PAGE}" for run in pair
        ]
        file = names.matched(sha256_bytes(canonical_json(links).encode())[:16])
        made_of: list[Any] = [code, *(_digests(run) for run in pair)]
        logs.say(f"pair {number} of {min(len(pairs), MOST_PAIRS)}: {pair[0]} and {pair[1]}")
        if not _is_of(out / file, made_of):
            (ours, fires), (theirs, firing) = (_directions(run, device) for run in pair)
            found = matched(ours, fires, theirs, firing)
            write_bytes(out / file, script(file, {**found, "made_of": made_of}))
        index["pairs"].append({"first": links[0], "second": links[1], "file": file})
    write_bytes(out / names.MATCHED, script("matched", index))
    logs.say(
        f"of the pairs of comparable runs with over {above:,} latents, {len(index['pairs']):,} are "
        f"matched and {index['n_left_out']:,} left out"
    )


def _stream(run: Path) -> str:
    """What two runs must share for their directions to mean the same."""
    settings = read_meta(run.parent, trained.STAGE)[0]["settings"]
    shared = [settings.get(key) for key in ("tokens", "layer", "normalisation")]
    return canonical_json([str(run.parent.parent.resolve()), *shared])


def _digests(run: Path) -> list[str]:
    return [read_meta(run.parent, trained.STAGE)[1], Analysis(run).digest]


def _is_of(path: Path, made_of: list[Any]) -> bool:
    try:
        found: RunMatch = json.loads(path.read_text().partition("=")[2].removesuffix(";\n"))
        return found["made_of"] == made_of
    except (OSError, ValueError, KeyError):  # absent or damaged
        return False


def _directions(run: Path, device: torch.device) -> tuple[Tensor, np.ndarray]:
    """The decoder (n, d) of a run, and which latents fire: (n,) bool.

    Raises:
        UserError: the dictionary isn't the one that was analysed.
    """
    analysis = Analysis(run)
    if analysis.meta["inputs"][trained.STAGE] != read_meta(run.parent, trained.STAGE)[1]:
        raise UserError(f"{run} wasn't made from {run.parent}: run the stage analyze again")
    fires = analysis.table(["image_count"]).column("image_count").to_numpy() > 0
    return trained.load(run.parent, device).dictionary().detach(), fires


def matched(ours: Tensor, fires: np.ndarray, theirs: Tensor, firing: np.ndarray) -> "RunMatch":
    """Match two decoders, (n, d) and (m, d).

    Args:
        ours, theirs: the decoders.
        fires, firing: which of their latents fire, (n,) and (m,) bool.
    """
    live, live_there = np.flatnonzero(fires), np.flatnonzero(firing)
    chance = min(1.0, float(np.sqrt(2 * np.log(max(len(ours), len(theirs))) / ours.shape[1])))
    a, b = ours[torch.from_numpy(live)], theirs[torch.from_numpy(live_there)]
    if not (len(a) and len(b)):
        forth = back = Nearest(np.empty((0, 1), np.float32), np.empty((0, 1), np.int64))
    else:
        forth, back = nearest(a, b, CANDIDATES, other=True), nearest(b, a, 1, other=True)
    mine, slots = one_to_one(forth, chance)
    partner = forth.latent[mine, slots]
    alone = np.setdiff1d(np.arange(len(forth.latent)), mine)
    alone_there = np.setdiff1d(np.arange(len(back.latent)), partner)

    def pairs(one: np.ndarray, other: np.ndarray, cosine: np.ndarray) -> "PackedPairs":
        order = np.argsort(cosine, kind="stable")
        return {
            "latent": _text(live[one][order], "<i4"),
            "other": _text(live_there[other][order], "<i4"),
            "cosine": _text(cosine[order], "<f4"),
        }

    return {
        "made_of": [],
        "n": [len(live), len(live_there)],
        "chance": chance,
        "pairs": pairs(mine, partner, forth.cosine[mine, slots]),
        "alone": pairs(alone, forth.latent[alone, 0], forth.cosine[alone, 0]),
        "alone_there": pairs(back.latent[alone_there, 0], alone_there, back.cosine[alone_there, 0]),
    }


def _text(values: np.ndarray, kind: str) -> str:
    return base64.b64encode(values.astype(kind).tobytes()).decode()


def one_to_one(candidates: Nearest, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Match rows with candidates one to one, the largest cosine first, if it is above ``least``.

    Returns:
        the matched rows (p,) int64, and the place of each partner among its candidates.
    """
    k = candidates.cosine.shape[1]
    cosine, latent = candidates.cosine.reshape(-1), candidates.latent.reshape(-1).tolist()
    order = np.argsort(-cosine, kind="stable")
    used, partners, places = set[int](), set[int](), []
    for place in order[cosine[order] > least].tolist():
        if place // k not in used and latent[place] not in partners:
            used.add(place // k)
            partners.add(latent[place])
            places.append(place)
    row, slot = np.divmod(np.array(places, np.int64), max(k, 1))
    return row, slot


def main(arguments: list[str]) -> None:
    """Command line of the matching."""
    parser = frame.parser(str(__doc__))
    parser.add_argument(
        "--runs", type=Path, nargs="+", help="directories of analyses (default: those of the plan)"
    )
    frame.add_folders(parser, out="results")
    args = parser.parse_args(arguments)
    spec = read_spec(args.spec)
    set_threads(args.threads)
    runs = args.runs or from_plan.analyses(args.out)
    device = job_device(from_plan.compute().device)
    match_runs(args.out, runs, spec.settings.get("sweeps", {}), spec.code, device)


if __name__ == "__main__":
    frame.run(main)
