"""Finds the frontier of a sweep: which points are worth having, and which one to start with."""

import math
import re
from typing import NamedTuple

from saev.dashboard.structures import Frontier, GalleryRun

MOST_DEAD = 0.1
RULE = (
    "Pareto-optimal: no other point is at least as good in both L0 and error, and better in one. "
    "Recommended: the knee. Draw a straight line from the first to the last Pareto-optimal point, "
    "in log L0 and log error: the knee is the point farthest below it (in a tie, the one with the "
    "smaller L0). With fewer than three Pareto-optimal points, or no knee: the one with the lowest "
    "error. A point with more than 10 % dead latents is not recommended."
)


class Point(NamedTuple):
    """A dictionary of a sweep."""

    name: str
    l0: float
    """Mean number of active latents of a vector."""
    nmse: float
    """Normalised squared error, on held-out images if there are any."""
    dead: float
    """Share of the latents that are dead, 0 to 1."""


def pareto(points: list[Point]) -> list[Point]:
    """The points that no other point beats, by rising L0. Of points with equal figures, all are
    kept."""

    def beaten(point: Point) -> bool:
        return any(
            (other.l0 <= point.l0 and other.nmse <= point.nmse)
            and (other.l0, other.nmse) != (point.l0, point.nmse)
            for other in points
        )

    return sorted((p for p in points if not beaten(p)), key=lambda p: (p.l0, p.nmse, p.name))


def recommended(points: list[Point]) -> Point | None:
    """The point to start with, by `RULE`; None if every Pareto point has too many dead latents."""
    front = pareto(points)
    fit = [point for point in front if point.dead <= MOST_DEAD]
    if not fit:
        return None
    if len(front) >= 3 and all(p.l0 > 0 and p.nmse > 0 for p in front):
        depth = {point: _below(point, front[0], front[-1]) for point in fit}
        deepest = max(depth.values())
        if deepest > 1e-9:
            return min((p for p in fit if depth[p] >= deepest - 1e-9), key=lambda p: (p.l0, p.name))
    return min(fit, key=lambda point: (point.nmse, point.l0, point.name))


def _below(point: Point, first: Point, last: Point) -> float:
    """How far a point is below the line from ``first`` to ``last``, in natural logarithms."""
    x, y = math.log(last.l0 / first.l0), math.log(last.nmse / first.nmse)
    px, py = math.log(point.l0 / first.l0), math.log(point.nmse / first.nmse)
    length = math.hypot(x, y)
    return (px * y - py * x) / length if length else 0.0


def frontiers(runs: list[GalleryRun], sweeps: dict[str, list[str]]) -> list[Frontier]:
    """The frontiers for the gallery: one for each sweep and combination of images, tower and
    analysis.

    Args:
        runs: the runs of the gallery.
        sweeps: directory names of the points of each swept entry.
    """
    found: dict[tuple[str, ...], list[GalleryRun]] = {}
    for run in runs:
        for entry, members in sweeps.items():
            at = run["run"]
            if at["sae"] in members:
                place = (at["trained_on"], at["images"], at["vit"], at["analysis"])
                found.setdefault((entry, *place), []).append(run)
    return [
        made
        for (entry, *where), those in found.items()
        if not _seeds_alone(entry, those) and (made := _frontier(entry, where, those)) is not None
    ]


def _seeds_alone(entry: str, runs: list[GalleryRun]) -> bool:
    """Whether the points of a sweep differ in a seed alone, so that none is better."""
    points = [run["run"]["sae"].removeprefix(f"{entry}.") for run in runs]
    return all(re.fullmatch(r"(init_)?seed-\d+(-[0-9a-f]{8})?", point) for point in points)


def _frontier(entry: str, where: list[str], runs: list[GalleryRun]) -> Frontier | None:
    points, links = [], {}
    held_out = all((run["final"] or {}).get("eval_nmse") is not None for run in runs)
    prefix = "eval_" if held_out else ""
    for run in runs:
        final = run["final"] or {}
        l0, nmse = (final.get(f"{prefix}{name}") for name in ("l0", "nmse"))
        if l0 is None or nmse is None:
            continue
        dead = run["summary"]["all"]["n_dead"] / run["summary"]["n_latents"]
        points.append(Point(run["run"]["sae"], l0, nmse, dead))
        links[run["run"]["sae"]] = run["link"]
    if not points:
        return None
    front, best = {point.name for point in pareto(points)}, recommended(points)
    return {
        "entry": entry,
        "where": " / ".join(dict.fromkeys(where)),
        "held_out": held_out,
        "rule": RULE,
        "recommended": best.name if best else None,
        "points": [
            {
                "name": point.name,
                "l0": point.l0,
                "nmse": point.nmse,
                "dead": point.dead,
                "label": point.name.removeprefix(f"{entry}.").rpartition("-")[0],
                "link": links[point.name],
                "pareto": point.name in front,
            }
            for point in sorted(points, key=lambda p: (p.l0, p.nmse, p.name))
        ],
    }
