"""Reads on how many images of each label a latent fires, from the parts of an analysis."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from saev.analyze.artifact import part_folder, part_json
from saev.analyze.counts import PairCounts, open_counts
from saev.core.files import read_json
from saev.core.meta import require_unaltered


def label_prefix(index: int) -> str:
    """How the names of the ``index``-th label's files start. Labels are sorted by name."""
    return f"label-{index:02}"


class Vocabulary(NamedTuple):
    """One label over all images."""

    texts: list[str]
    """The distinct labels, sorted: their index is their code."""
    counts: np.ndarray
    """(C,) int64: how many images have each."""


def read_labels(out: Path, n: int, index: int) -> tuple[Vocabulary, list[PairCounts]]:
    """Read the counts of one label in all parts: its vocabulary, and the parts' runs, mapped."""
    prefix = label_prefix(index)
    found = [read_json(out / part_folder(part) / f"{prefix}.json") for part in range(n)]
    texts = sorted(set().union(*(f["labels"] for f in found)))
    numbers = {text: number for number, text in enumerate(texts)}
    counts = np.zeros(len(texts), np.int64)
    runs = []
    for part, here in enumerate(found):
        codes = np.array([numbers[text] for text in here["labels"]], np.int64)
        counts[codes] += np.array(here["counts"], np.int64)
        runs.append(open_counts(out / part_folder(part), prefix, len(codes), codes))
    return Vocabulary(texts, counts), runs


def require_counts(out: Path, n: int) -> None:
    """Refuse counts of labels that were altered after their part was made.

    Args:
        out: directory of the analysis; n: number of its parts.

    Raises:
        UserError: a file is missing, or isn't as it was made.
    """
    for part in range(n):
        files = read_json(out / part_json(part))["files"]
        start = f"{part_folder(part)}/label-"
        require_unaltered(out, [entry for entry in files if entry["name"].startswith(start)])
