"""Reads on how many images of each label a latent fires, from the parts of an analysis."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from saev.analyze.artifact import part_folder, part_json
from saev.analyze.counts import PairCounts, counts_name, keys_name, open_counts, sums_name
from saev.core.errors import UserError
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
        folder = out / part_folder(part)
        runs.append(open_counts(folder, prefix, len(codes), codes, sums=True))
    return Vocabulary(texts, counts), runs


def require_counts(out: Path, n: int, n_names: int) -> None:
    """Refuse counts of labels that an older version made, or that were altered since.

    Args:
        out: directory of the analysis; n: number of its parts; n_names: number of its labels.

    Raises:
        UserError: a file is missing, or isn't as it was made.
    """
    for part in range(n):
        known = {entry["name"]: entry for entry in read_json(out / part_json(part))["files"]}
        wanted = [
            f"{part_folder(part)}/{name}"
            for prefix in map(label_prefix, range(n_names))
            for name in (keys_name(prefix), counts_name(prefix), sums_name(prefix))
        ]
        if not known.keys() >= set(wanted):
            raise UserError(
                f"{out / part_json(part)} was made by an older version of saev, without what pages "
                "show now: run the workflow again"
            )
        require_unaltered(out, [known[name] for name in wanted])
