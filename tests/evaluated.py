"""A small evaluation in memory: what tests of its metrics share."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from analysed import Case

from saev.evaluate.features import Dense, Sparse
from saev.evaluate.firing import Firing
from saev.evaluate.made_from import Folders
from saev.evaluate.measure import Evaluator
from saev.evaluate.opened import open_all
from saev.settings.evaluation import EvaluationSettings

OFF = {"redundancy": False, "spatial": False, "stability": False}
"""Settings with which nothing is measured but γ."""


def firing(rows: list[int], dense: np.ndarray) -> Firing:
    """What fires on images, from dense latents (images, patches, n)."""
    image, patch, latent = np.nonzero(dense)
    value = dense[image, patch, latent].astype(np.float32)
    return Firing(np.array(rows, np.int64), dense.shape[1], image, patch, latent, value)


def sparse(folder: Path, values: np.ndarray) -> Sparse:
    """Features from their values (images, features)."""
    made = Sparse(folder, values.shape[1])
    for part in np.array_split(values, min(2, len(values))):
        image, feature = np.nonzero(part)
        made.add(len(part), image, feature, part[image, feature])
    return made


def dense(folder: Path, values: np.ndarray) -> Dense:
    """The same with a value for every image."""
    made = Dense(folder, values.shape[1])
    for part in np.array_split(values, min(2, len(values))):
        made.add(part)
    return made


def folders(case: Case, **more: Any) -> Folders:
    """Where everything of a case lies."""
    return Folders(case.out, case.sae, case.activations, case.table, **more)


def evaluated(
    case: Case, scratch: Path, *, more: Any = None, shuffled: Any = (), **settings: Any
) -> Evaluator:
    """Evaluate an analysis that was made; return what was found."""
    scratch.mkdir(parents=True)
    given = folders(case, **(more or {}))
    opened = open_all(given, torch.device("cpu"))
    named = EvaluationSettings(**{**OFF, **settings})
    evaluator = Evaluator(opened, named, scratch, given.seeds, shuffled=shuffled)
    evaluator.run()
    return evaluator


def figures(evaluator: Evaluator) -> dict[str, Any]:
    """The figures by metric and name. Each says why it is null, or why a baseline is."""
    for one in evaluator.results.figures:
        values = (one.measured, *one.baselines.values())
        assert one.note or all(each.value is not None for each in values), one
    return {f"{f.metric}.{f.name}": f for f in evaluator.results.figures}
