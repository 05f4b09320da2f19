"""What pages show of an evaluation: its figures, its columns, and the partners of each latent."""

from collections.abc import Iterable
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa

from saev.analyze.columns import Column, Filter
from saev.dashboard.scripts import rounded
from saev.evaluate.artifact import Evaluation
from saev.evaluate.figure_titles import BASELINES, CEILINGS, TITLES, beats, titled
from saev.evaluate.latent_columns import FILTERS, LATENT_COLUMNS

HEADLINES = ("stability.mean", "downstream.loss_recovered")
"""The figures that the gallery shows of a run."""
NAMED = 30
"""How many of the classes that were left out are named."""


class Estimate(TypedDict):
    """A number and its interval."""

    value: float | None
    """None where it isn't defined."""
    interval: list[float] | None
    """Ends of the 95 % interval; None where there is none."""


class Baseline(Estimate):
    """The same figure of something trivial."""

    title: str
    beaten: bool | None
    """Whether the figure is better; None where that can't be said."""


class EvaluatedFigure(Estimate):
    """A figure of a run's evaluation."""

    key: str
    """Its metric and name, such as ``stability.mean``."""
    title: str
    meaning: str
    """For a tooltip; empty if the title says it."""
    n: int
    """How many it is taken over."""
    over: str
    """Of what."""
    held_out: bool
    """Whether it is about images that training never saw."""
    note: str
    baselines: list[Baseline]


class MeasuredInShort(TypedDict):
    """A figure of an evaluation in the table of all runs."""

    value: float | None
    baselines: dict[str, float | None]
    """Their values by name."""
    unbeaten: bool
    """Whether a baseline is as good."""
    note: str
    """Why it has no value, if it has none."""


class LeftOut(TypedDict):
    """The classes of a label that an evaluation leaves out, as they have too few images."""

    label: str
    """Its name, or ``masks``."""
    n: int
    """How many classes."""
    named: list[str]
    """The first of them, each with how many images it has."""


class Evaluated(TypedDict):
    """The evaluation that the page of a run shows."""

    name: str
    others: list[str]
    """Names of other evaluations of this analysis."""
    figures: list[EvaluatedFigure]
    left_out: list[LeftOut]
    columns: list[str]
    """Names of the columns that it adds to the figures of latents."""


class Partners:
    """The latents with which each latent fires most, compared with chance.

    Args:
        table: `coactivation.parquet`, sorted by latent.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table, self.owners = table, table.column("latent").to_numpy()

    def of(self, latents: Iterable[int]) -> list[list[list[float]]]:
        """For each latent its partners by falling PMI: latent, PMI, vectors on which both fire."""
        found = []
        for latent in latents:
            first, last = np.searchsorted(self.owners, (latent, latent + 1)).tolist()
            rows = self.table.slice(first, last - first).to_pylist()
            found.append([[r["partner"], rounded(r["pmi"]) or 0, r["count"]] for r in rows])
        return found


def partners(evaluation: Evaluation | None) -> Partners | None:
    """The partners of latents; None if the evaluation has none, or there is no evaluation."""
    table = evaluation.partners() if evaluation else None
    return None if table is None else Partners(table)


def columns(evaluation: Evaluation | None) -> list[Column]:
    """The columns of latents that pages may show."""
    if evaluation is None:
        return []
    known = set(evaluation.table().column_names)
    return [column for column in LATENT_COLUMNS if column.name in known]


def filters(evaluation: Evaluation | None) -> list[Filter]:
    """The filters on these columns."""
    known = {column.name for column in columns(evaluation)}
    return [one for one in FILTERS if one.column in known]


def widened(table: pa.Table, evaluation: Evaluation | None) -> pa.Table:
    """The figures of latents, with the columns of the evaluation."""
    for column in columns(evaluation):
        assert evaluation is not None
        table = table.append_column(column.name, evaluation.table().column(column.name))
    return table


def described(evaluation: Evaluation, others: list[str]) -> Evaluated:
    """What the page says about the run. ``others`` are names of evaluations that it leaves out."""
    return {
        "name": evaluation.path.name,
        "others": others,
        "figures": [_figure(entry) for entry in evaluation.figures],
        "left_out": [
            {
                "label": label,
                "n": len(classes),
                "named": [f"{name} ({n:,})" for name, n in sorted(classes.items())[:NAMED]],
            }
            for label, classes in evaluation.left_out.items()
            if classes
        ],
        "columns": [column.name for column in columns(evaluation)],
    }


def headlines(shown: Evaluated | None) -> list[EvaluatedFigure]:
    """Those of the figures on a run's page that the gallery shows too."""
    figures = shown["figures"] if shown else []
    return [one for one in figures if one["key"] in HEADLINES and one["value"] is not None]


def in_short(shown: Evaluated | None) -> dict[str, MeasuredInShort]:
    """All figures by their titles, for the table of all runs."""
    return {
        one["title"]: {
            "value": one["value"],
            "baselines": {other["title"]: other["value"] for other in one["baselines"]},
            "unbeaten": any(other["beaten"] is False for other in one["baselines"]),
            "note": one["note"],
        }
        for one in (shown["figures"] if shown else [])
    }


def meanings(runs: Iterable[dict[str, MeasuredInShort]]) -> dict[str, str]:
    """What the figures of ``runs`` say, by their titles: once, and not for each run."""
    known = dict(TITLES.values())
    found = {title: known.get(title.partition(": ")[0], "") for run in runs for title in run}
    return {title: meaning for title, meaning in found.items() if meaning}


def _figure(entry: dict[str, Any]) -> EvaluatedFigure:
    title, meaning = titled(entry["metric"], entry["name"], entry["of"])
    key = f"{entry['metric']}.{entry['name']}"

    def beaten(name: str, other: float | None) -> bool | None:
        return None if name in CEILINGS else beats(key, entry["value"], other)

    return {
        **_estimate(entry),
        "key": key,
        "title": title,
        "meaning": meaning,
        "n": entry["n"],
        "over": entry["over"],
        "held_out": entry["split"] == "held_out",
        "note": entry["note"],
        "baselines": [
            {
                **_estimate(one),
                "title": BASELINES.get(name, name.replace("_", " ")),
                "beaten": beaten(name, one["value"]),
            }
            for name, one in entry["baselines"].items()
        ],
    }


def _estimate(entry: dict[str, Any]) -> Estimate:
    # All digits: the page rounds them, and rounding twice can end elsewhere.
    return {"value": entry["value"], "interval": entry["interval"]}
