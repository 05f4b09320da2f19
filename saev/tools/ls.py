"""`saev ls`: lists everything under `results/`, with metrics and sizes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from saev.core.errors import UserError
from saev.core.files import read_json
from saev.core.meta import RUN
from saev.core.plan_file import PLANS
from saev.dashboard.artifact import BESIDE_RUNS, FOLDER_NAME, SUMMARY
from saev.tools import texts, tree

WIDTH = 100
HEADINGS = ["results", "reached", "nmse train", "held out", "l0", "dead", "latents", "size", "made"]


def listing(results: Path) -> list[dict[str, Any]]:
    """Describe each directory under ``results``, followed by those inside it, sorted by name."""
    return list(_below(results, results, 0))


def _below(results: Path, folder: Path, level: int) -> Iterator[dict[str, Any]]:
    for child in tree.children(folder):
        yield _entry(results, child, level)
        for inner in tree.apart(child, level):
            yield _entry(results, inner, tree.APART[level])
        if level + 1 < len(tree.LEVELS):
            yield from _below(results, child, level + 1)


def _entry(results: Path, folder: Path, level: int) -> dict[str, Any]:
    lineage = folder.relative_to(results).parts
    names = dict(zip(tree.LEVELS, (*lineage, *[None] * len(tree.LEVELS)), strict=False))
    names |= dict.fromkeys(tree.KINDS[kind] for kind in tree.FOLDERS)
    if level == tree.LABELS:
        names |= {"vit": None, "sae": None}
    if level in tree.FOLDERS:
        names[tree.KINDS[level]] = folder.name
    entry = {**names, "level": tree.KINDS[level], "bytes": tree.own_bytes(folder, level)}
    try:
        meta = tree.read(folder, tree.STAGES[level])
        reached = tree.STAGES[level]
        if (folder / FOLDER_NAME / SUMMARY).exists():
            reached = "dashboard"
        return {**entry, "reached": reached, **figures(meta), "made": _made(folder, reached)}
    except UserError:
        return {**entry, "reached": "incomplete", **figures({}), "made": None}


def _made(folder: Path, reached: str) -> str | None:
    """When the last stage was started, if `run.json` says so."""
    try:
        run = read_json((folder / FOLDER_NAME if reached == "dashboard" else folder) / RUN)
    except UserError:
        return None
    return run.get("started") if isinstance(run, dict) else None


def figures(meta: dict[str, Any]) -> dict[str, Any]:
    """The main metrics of a dictionary or an analysis; None for missing ones."""
    none = dict.fromkeys(("nmse_train", "nmse_held_out", "l0", "dead", "n_latents"))
    summary = meta.get("summary", {})
    try:
        if meta.get("stage") == "train":
            last = summary["final"]
            return {
                "nmse_train": last["nmse"],
                "nmse_held_out": last.get("eval_nmse"),
                "l0": last["l0"],
                "dead": last["dead"],
                "n_latents": meta["settings"]["n_latents"],
            }
        if meta.get("stage") == "analyze":
            kinds = ("train", "held_out", "other")
            train, held_out, other = (summary["splits"].get(kind) or {} for kind in kinds)
            held_out = held_out or other  # of images that training never saw
            return {
                "nmse_train": train.get("nmse"),
                "nmse_held_out": held_out.get("nmse"),
                "l0": (held_out or train).get("l0"),
                "dead": summary["all"]["n_dead"],
                "n_latents": summary["n_latents"],
            }
    except (KeyError, TypeError, AttributeError):
        return none
    return none


def lines(results: Path, entries: list[dict[str, Any]]) -> list[str]:
    """The listing as a table of at most `WIDTH` columns."""
    foreign = _foreign(results)
    if not entries:
        text = f"{results} has no results yet. To make those of config.yaml: saev run"
        return [text, *foreign]
    rows = [_row(entry) for entry in entries]
    rest = texts.table([HEADINGS[1:], *(row[1:] for row in rows)], right=range(1, 7))
    width = WIDTH - 2 - max(map(len, rest))
    names = [HEADINGS[0], *(texts.shortened(row[0], width) for row in rows)]
    widest = max(map(len, names))
    joined = [f"{n.ljust(widest)}  {line}" for n, line in zip(names, rest, strict=True)]
    runs = sum(entry["level"] == "analysis" for entry in entries)
    total = texts.size(sum(entry["bytes"] for entry in entries))
    unfinished = sum(entry["reached"] == "incomplete" for entry in entries)
    end = f"{texts.count(runs, 'run')}, {total}" + (f"; {unfinished} incomplete" * bool(unfinished))
    return [*joined, "", end, *foreign]


def _row(entry: dict[str, Any]) -> list[str]:
    depth, name = tree.KINDS.index(entry["level"]), entry[entry["level"]]
    if depth == tree.LABELS:  # its name is only a digest
        depth, name = 1, f"{entry['level']}/{name}"
    if depth == tree.EVALUATIONS:
        depth = len(tree.LEVELS)
    made = entry["made"]
    return [
        "  " * depth + name,
        entry["reached"],
        *(_figure(entry[name], ".3f") for name in ("nmse_train", "nmse_held_out")),
        _figure(entry["l0"], ".1f"),
        *(_figure(entry[name], ",") for name in ("dead", "n_latents")),
        texts.size(entry["bytes"]),
        made[:10] if isinstance(made, str) else "",
    ]


def _figure(value: Any, how: str) -> str:
    return format(value, how) if isinstance(value, (int, float)) else ""


def _foreign(results: Path) -> list[str]:
    """A line that names folders and links directly under results that saev didn't make."""
    names = [
        p.name
        for p in sorted(results.iterdir())
        if p.is_dir() and p.name not in (PLANS, *BESIDE_RUNS) and not tree.NAME.fullmatch(p.name)
    ]
    return [f"not saev's: {', '.join(names)}"] if names else []
