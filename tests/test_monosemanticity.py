"""Monosemanticity, beside its definition by pairs."""

import numpy as np
import pytest
import torch
from analysed import TOPK, vectors, write_sae
from evaluated import firing
from synthetic import write_activations

from saev.analyze.inputs import open_inputs
from saev.core.errors import UserError
from saev.evaluate.firing import look
from saev.evaluate.monosemanticity import Embedded, embeddings_of, results
from saev.settings.analysis import AnalysisSettings


def by_pairs(a, e):
    """MS of one feature by its definition."""
    a, e = a.astype(np.float64), e.astype(np.float64)
    a = (a - a.min()) / (a.max() - a.min())
    e = e / np.linalg.norm(e, axis=1, keepdims=True)
    weights, cosines = np.outer(a, a), e @ e.T
    upper = np.triu_indices(len(a), 1)
    return (weights * cosines)[upper].sum() / weights[upper].sum()


@pytest.fixture
def inputs(tmp_path):
    streams = {"layer-01.patches": vectors(300, 6, 3), "pooled": vectors(300, 5, seed=1) + 0.5}
    folder = write_activations(tmp_path / "vit", streams, dtype="float32", absent=(2, 270))
    sae = write_sae(folder / "sae", folder, "layer-01.patches", TOPK)
    return open_inputs(AnalysisSettings(), sae, folder, None, torch.device("cpu"))


def added(inputs, dense, steps):
    stream = embeddings_of(inputs, "pooled")
    embedded = Embedded(inputs, stream, dense.shape[2], raw=True)
    rows = inputs.activations.rows(0, 300)
    for part in np.array_split(np.arange(len(rows)), steps):
        embedded.add(firing(rows[part].tolist(), dense[part]))
    return embedded


@pytest.mark.parametrize("steps", [1, 7])
def test_one_pass_gives_what_all_pairs_give(inputs, steps):
    rng = np.random.default_rng(0)
    dense = np.where(rng.random((298, 3, 5)) < 0.3, rng.random((298, 3, 5)), 0)
    dense[:, 0, 1] = 1 + rng.random(298)  # fires on all images: its least activation isn't 0
    dense[:, :, 2:] = 0
    dense[7, 0, 2] = 1  # one image
    dense[:, :, 3] = 2  # the same on all
    dense[[7, 9], 0, 4] = 1
    embedded = added(inputs, dense, steps)
    found = embedded.found()
    rows = inputs.activations.rows(0, 300)
    pooled = inputs.activations.take(embedded.stream, rows)[:, 0]
    largest = dense.max(1).astype(np.float32)
    assert np.isnan(found[[2, 3]]).all()
    for j in (0, 1, 4):
        assert found[j] == pytest.approx(by_pairs(largest[:, j], pooled), abs=1e-9)
    two = pooled[[7, 9]] / np.linalg.norm(pooled[[7, 9]], axis=1, keepdims=True)
    assert found[4] == pytest.approx(two[0] @ two[1])
    raw = inputs.activations.take(inputs.stream, rows).max(1)
    for j, value in enumerate(embedded.found_of_dimensions()):
        assert value == pytest.approx(by_pairs(raw[:, j], pooled), abs=1e-9)
    pooled = pooled.astype(np.float64)
    pairs = [u @ v for i, u in enumerate(unit(pooled)) for v in unit(pooled)[:i]]
    assert embedded.of_all() == pytest.approx(np.mean(pairs))


def unit(e):
    return e / np.linalg.norm(e, axis=1, keepdims=True)


def test_the_figure_stands_beside_three_baselines(inputs):
    stream = embeddings_of(inputs, "pooled")
    ours = Embedded(inputs, stream, 24, raw=True)
    look(inputs, [ours])
    found = results(ours, ours, seed=0)
    (figure,) = found.figures
    assert set(figure.baselines) == {"untrained_dictionary", "raw_dimensions", "all_images"}
    assert figure.n == (~np.isnan(found.columns["monosemanticity"])).sum() > 15
    assert "same tower" in figure.note


def test_embeddings_that_are_not_there_or_are_the_dictionarys_own_are_refused(inputs):
    with pytest.raises(UserError, match=r"holds no layer-07\.cls; it holds: layer-01"):
        embeddings_of(inputs, "layer-07.cls")
    with pytest.raises(UserError, match="name another stream"):
        embeddings_of(inputs, "layer-01.patches")
