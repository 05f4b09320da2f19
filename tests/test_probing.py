"""Sparse probing: what it chooses, fits and says, beside scikit-learn and by hand."""

import tracemalloc

import numpy as np
import pytest
import torch
from analysed import TOPK, Case, cycling, vectors
from evaluated import dense, evaluated, sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from saev.core.errors import UserError
from saev.evaluate import classes as classes_module
from saev.evaluate import features as features_module
from saev.evaluate import logistic
from saev.evaluate import probing as probing_module
from saev.evaluate.auroc import auroc, resampled
from saev.evaluate.classes import Classes, classes_of
from saev.evaluate.probing import Sides, choose, judge
from saev.evaluate.untrained import untrained
from saev.settings.config import parse


@pytest.mark.parametrize("share", [0.5, 0.02])
def test_logistic_regression_is_that_of_scikit_learn(share):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 400, 2)) * [1, 3]
    y = rng.random((3, 400)) < share
    y[2] = x[2, :, 0] > 1  # perfectly told apart
    theta = logistic.fit(torch.from_numpy(x), torch.from_numpy(y)).numpy()
    for i in range(3):
        theirs = LogisticRegression(C=1.0, tol=1e-12, max_iter=10_000).fit(x[i], y[i])
        ours = [*theirs.coef_[0], *theirs.intercept_]
        assert theta[i] == pytest.approx(ours, rel=1e-4, abs=1e-4)


def test_the_area_is_the_share_of_pairs_in_the_right_order():
    score, positive = np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, True, False, True])
    everything = np.ones((1, 4), np.int64)
    # Of four pairs, three are in order and one is tied.
    assert auroc(score, positive, everything) == pytest.approx([3.5 / 4])
    assert np.isnan(auroc(score, np.ones(4, bool), everything)).all()


def test_the_area_of_a_resample_is_that_of_the_images_drawn():
    rng = np.random.default_rng(1)
    score, positive = rng.integers(0, 9, 60) / 4, rng.random(60) < 0.3
    drawn = resampled(60, 20, seed=2)
    assert drawn[0].tolist() == [1] * 60
    assert (drawn.sum(1) == 60).all()
    for weights, area in zip(drawn, auroc(score, positive, drawn), strict=True):
        images = np.repeat(np.arange(60), weights)
        assert area == pytest.approx(roc_auc_score(positive[images], score[images]))


def test_features_are_chosen_by_their_difference_of_means(tmp_path):
    values = np.array([[1.0, 0, 5, 0], [3, 0, 5, 0], [0, 0, 5, 1], [0, 5, 5, 1]])
    codes = np.array([0, 0, 1, -1])
    # Class 0: means 2, 0, 5, 0 beside 0, 5/2, 5, 1. Class 1: 0, 0, 5, 1 beside 4/3, 5/3, 5, 1/3.
    for features in (sparse(tmp_path, values), dense(tmp_path, values)):
        assert choose(features, codes, 2, 3).tolist() == [[1, 0, 3], [1, 0, 3]]
        assert features.take(np.array([2, 0])).tolist() == values[:, [2, 0]].tolist()


def test_a_probe_of_one_perfect_feature_is_perfect_and_of_noise_is_chance(tmp_path):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, 2000)
    noise = rng.standard_normal(2000)
    values = np.stack([codes + 0.0, noise], axis=1).astype(np.float32)
    given = Classes(
        ["a", "b"], np.arange(1000), codes[:1000], np.arange(1000), codes[1000:], {}, ""
    )
    sides = Sides(dense(tmp_path, values[:1000]), dense(tmp_path, values[1000:]))
    drawn = resampled(1000, 50, seed=0)
    perfect = judge(sides, given, np.array([[0], [0]]), drawn)[1]
    assert (perfect.auroc == 1).all()
    assert (perfect.accuracy == 1).all()
    chance = judge(sides, given, np.array([[1], [1]]), drawn)[1]
    assert chance.auroc[0] == pytest.approx(0.5, abs=0.05)
    assert chance.auroc[1:].std() > 0.005


def test_features_are_the_same_in_one_block_and_in_many(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    values = rng.random((50, 6)) * (rng.random((50, 6)) < 0.3)
    members, chosen = rng.random((50, 3)) < 0.5, np.array([4, 0, 4])
    some = np.flatnonzero(rng.random(50) < 0.4)
    for entries in (1, 7, 1 << 20):
        monkeypatch.setattr(features_module, "ENTRIES", entries)
        few, all_of = sparse(tmp_path, values), dense(tmp_path, values)
        for features in (few, all_of):
            assert features.take(chosen) == pytest.approx(values[:, chosen], rel=1e-6)
            assert features.sums(members) == pytest.approx(values.T @ members, rel=1e-6)
        assert all_of.std() == pytest.approx(values.std(0), rel=1e-6)
        at, parts = zip(*few.blocks(some), strict=True)
        assert np.concatenate(at).tolist() == some.tolist()
        assert np.concatenate([part.toarray() for part in parts]).tolist() == values[some].tolist()
        assert max(part.nnz for part in parts) <= max(entries, 6)


SIZES = (100, 400, 2400)


def peak_memory(folder, n, **settings):
    """Bytes of arrays while a metric is measured on ``n`` images, each with 64 latents of 256."""
    labels = {"kind": cycling(n, *"abcd"), "wide": cycling(n, *"xyxy")}
    case = Case(folder, vectors(n), labels, sae={**TOPK, "n_latents": 256, "k": 64})
    case.analyse()
    tracemalloc.start()
    evaluated(case, folder / "out", **settings)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize(
    "settings",
    [{"probing": ("kind",)}, {"absorption": {"parent": "wide", "child": "kind"}}],
    ids=["probing", "absorption"],
)
def test_no_metric_holds_the_latents_of_all_images(tmp_path, monkeypatch, settings):
    monkeypatch.setattr(features_module, "ENTRIES", 4096)
    monkeypatch.setattr(features_module, "STEP_VECTORS", 128)
    monkeypatch.setattr(probing_module, "RESAMPLES", 2)
    # The first run also imports what it needs.
    _, few, many = (peak_memory(tmp_path / f"{i}", n, **settings) for i, n in enumerate(SIZES))
    # One latent of an image takes 12 bytes at least.

    assert many - few < (SIZES[2] - SIZES[1]) * 64 * 12 / 2


def planted(folder, patches=0):
    """Images of three classes and a rare one, along the first latents' directions."""
    n, d = 500, 12
    kinds = cycling(n, "ant", "bee", "cow")
    for row in range(9):
        kinds[row * 31] = "yak"
    kinds[1] = None
    values = vectors(n, d, patches)
    case = Case(folder, values, {"kind": kinds, "same": cycling(n, "x")}, sae={**TOPK, "k": 4})
    from saev.train.artifact import load

    sae = load(case.sae)
    number = np.array([["ant", "bee", "cow", "yak", None].index(kind) for kind in kinds])
    first = values if not patches else values[:, 0]
    for c in range(3):
        direction = (sae.W_dec[3 + c] * sae.norm_scale).numpy()
        first[number == c] += 8 * direction
    made = Case(folder / "b", values, case.labels, sae={**TOPK, "k": 4}, absent=(7,))
    made.analyse()
    return made


@pytest.fixture(scope="module", params=[0, 4], ids=["cls", "patches"])
def case(request, tmp_path_factory):
    return planted(tmp_path_factory.mktemp("probing"), request.param)


def test_a_planted_latent_knows_its_class_better_than_any_baseline(case, tmp_path):
    found = evaluated(case, tmp_path / "a", probing=("kind",))
    named = {f.name: f for f in found.results.figures if f.metric == "probing"}
    assert set(named) == {f"{of}_{k}" for of in ("auroc", "accuracy") for k in (1, 2, 5)}
    one = named["auroc_1"]
    assert one.n == 3
    assert (one.of, one.split) == ("kind", "held_out")
    assert one.measured.value > 0.95
    assert set(one.baselines) == {"untrained_dictionary", "raw_dimensions", "pca", "constant"}
    for name, baseline in one.baselines.items():
        if name != "pca":  # three clusters are principal components too
            assert baseline.value < one.measured.low, name
        assert baseline.low <= baseline.value <= baseline.high
    assert one.baselines["constant"] == (0.5, 0.5, 0.5)
    assert named["accuracy_1"].baselines["constant"].value == pytest.approx(2 / 3, abs=0.05)
    assert found.left_out == {"kind": {"yak": 9}}


def test_a_class_is_left_out_for_one_image_too_few(case, monkeypatch):
    assert "yak" in classes_of(case.open(), "kind", seed=0).left_out
    monkeypatch.setattr(classes_module, "FEWEST", 9)
    assert classes_of(case.open(), "kind", seed=0).names == ["ant", "bee", "cow", "yak"]


def test_a_label_with_one_class_says_so(case, tmp_path):
    found = evaluated(case, tmp_path / "a", probing=("same",))
    (figure,) = (f for f in found.results.figures if f.metric == "probing")
    assert figure.measured.value is None
    assert figure.of == "same"
    assert "fewer than two classes" in figure.note


def test_probes_are_judged_by_the_images_that_the_training_held_out(case, monkeypatch):
    inputs = case.open()
    found = classes_of(inputs, "kind", seed=0)
    rows = np.concatenate([found.training, found.judging])
    held_out = inputs.splits(rows)["held_out"]
    assert held_out.tolist() == [False] * len(found.training) + [True] * len(found.judging)
    assert 1 not in rows  # without a label
    assert 7 not in rows  # without activations
    assert not found.note
    monkeypatch.setattr(classes_module, "MOST_TRAINING", 50)
    fewer = classes_of(inputs, "kind", seed=0)
    assert len(fewer.training) == 50
    assert np.isin(fewer.training, found.training).all()
    other = classes_of(inputs._replace(other=True), "kind", seed=0)
    assert "held out no image" in other.note
    assert 0.1 < len(other.judging) / 498 < 0.3


def test_threads_change_no_figure(case, tmp_path):
    threads, made = torch.get_num_threads(), []
    for n in (1, 2):
        torch.set_num_threads(n)
        found = evaluated(case, tmp_path / str(n), probing=("kind",))
        made.append([figure.entry() for figure in found.results.figures])
    torch.set_num_threads(threads)
    assert made[0] == made[1]


def test_an_untrained_dictionary_is_as_wide_and_sparse_and_normalises_alike(case):
    sae = case.open().sae
    made = untrained(sae, 3.6, seed=0)
    x = torch.randn(50, sae.d)
    assert (made.encode(x) > 0).sum(1).float().mean() == pytest.approx(4, abs=0.5)
    assert (made.normalise(x) == sae.normalise(x)).all()
    assert made.W_dec.norm(dim=1).numpy() == pytest.approx(np.ones(24), abs=1e-6)
    assert (untrained(sae, 3.6, seed=0).W_dec == made.W_dec).all()


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (
            {"probing": ["kinds"]},
            r"evaluation\.e\.probing: analysis\.a.* has no label 'kinds'; did you mean 'kind'",
        ),
        ({"probing": ["kind", "kind"]}, r"evaluation\.e\.probing: kind is listed twice: remove"),
        (
            {"vocabulary": "words.txt"},
            r"evaluation\.e\.vocabulary: needs 4 .*, but analysis\.a\.top_images.* is 3",
        ),
    ],
)
def test_an_evaluation_that_its_analysis_cannot_serve_is_refused_by_name(entry, said):
    sae = {"architecture": "topk", "tokens": "pooled", "n_latents": 8, "k": 2}
    raw = {
        "images": {"i": {"folder": "f"}},
        "vit": {"v": {"model": "m", "weights": "random", "tokens": ["pooled"]}},
        "sae": {"s": {**sae, "batch_size": 2, "epochs": 1.0, "lr": 0.1}},
        "analysis": {"a": {"labels": {"kind": {"folder": True}}, "top_images": 3}},
        "evaluation": {"e": entry},
        "runs": [{"images": "i", "vit": "v", "sae": "s", "analysis": "a", "evaluation": "e"}],
    }
    with pytest.raises(UserError, match=said):
        parse(raw)
