"""Metrics of the decoder and of what fires together, and the stage that measures them."""

import json
import math

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from analysed import TOPK, Case, some_labels, vectors
from evaluated import evaluated, figures, firing, folders

from saev.analyze.neighbours import nearest, random_rows
from saev.core.errors import UserError
from saev.evaluate import __main__ as evaluate
from saev.evaluate import coactivation, gamma, redundancy
from saev.evaluate.artifact import Evaluation
from saev.evaluate.firing import largest_per_image
from saev.evaluate.latent_columns import LATENT_COLUMNS
from saev.evaluate.moran import Grid, Maps, moran
from saev.evaluate.opened import open_all
from saev.evaluate.results import mean_of


def test_redundancy_is_the_largest_cosine_to_another_row():
    rows = torch.tensor([[1.0, 0], [0, 2.0], [3.0, 3.0], [-1.0, 0]])
    assert redundancy.redundancy(rows) == pytest.approx([0.5**0.5, 0.5**0.5, 0.5**0.5, 0])
    found = redundancy.measure(rows, np.array([True, True, False, False]), 0)
    assert found.figures[0].measured.value == pytest.approx(0.5**0.5)
    assert found.figures[0].n == 2
    assert np.isnan(redundancy.redundancy(rows[:1])).all()


def test_the_nearest_rows_do_not_depend_on_threads():
    rows = random_rows(700, 24, seed=3)
    threads = torch.get_num_threads()
    found = []
    for n in (1, 2):
        torch.set_num_threads(n)
        found.append(nearest(rows, rows, 2, other=False))
    torch.set_num_threads(threads)
    assert (found[0].cosine == found[1].cosine).all()
    cosines = (rows @ rows.T - 2 * torch.eye(700)).numpy()
    assert found[0].cosine[:, 0] == pytest.approx(cosines.max(1), abs=1e-6)


def test_gamma_compares_the_mean_with_what_varies():
    assert gamma.gamma(np.array([3.0, 4.0]), np.array([0.0, 2.5])) == 2
    assert gamma.gamma(np.array([3.0, 4.0]), np.zeros(2)) is None
    mean, std = np.array([3.0, 4.0]), np.array([1.0, 1.0])
    figure = gamma.measure(mean, std, mean, np.ones(2))
    assert figure.measured.value == pytest.approx(5 / 2**0.5)
    assert figure.baselines["after_normalisation"].value == 0
    assert not figure.note
    assert "centred" in gamma.measure(mean, std, np.zeros(2), np.ones(2)).note


def dense_moran(x):
    """Moran's I by its definition."""
    rows, columns = x.shape
    at = [(i, j) for i in range(rows) for j in range(columns)]
    w = np.array([[float(abs(a - c) + abs(b - d) == 1) for c, d in at] for a, b in at])
    z = x.reshape(-1) - x.mean()
    return len(z) / w.sum() * (z @ w @ z) / (z @ z)


def test_morans_i_is_that_of_its_definition():
    # A chequerboard is as negative as can be: every neighbour is on the other side of the mean.
    board = np.indices((4, 4)).sum(0) % 2
    entries = np.flatnonzero(board)
    found = moran(np.zeros(8, np.int64), entries, np.ones(8), 1, Grid(4, 4))
    assert found == pytest.approx([-1])
    rng = np.random.default_rng(0)
    maps = np.where(rng.random((30, 3, 5)) < 0.5, rng.random((30, 3, 5)), 0)
    maps[7] = 0
    maps[8] = 1.5
    maps[9] = 0
    maps[9, 1, 1] = 2
    group, row, column = np.nonzero(maps)
    value = maps[group, row, column]
    found = moran(group, row * 5 + column, value, 30, Grid(3, 5))
    assert np.isnan(found[[7, 8, 9]]).all()  # nothing, the same everywhere, a single patch
    others = np.delete(np.arange(30), [7, 8, 9])
    assert found[others] == pytest.approx([dense_moran(maps[i]) for i in others])


def test_maps_are_averaged_over_images_and_shuffled_within_them():
    dense = np.zeros((40, 16, 2))
    dense[:, [0, 1, 4, 5], 0] = 1  # a square in a corner
    dense[:20, 3, 1] = 1  # a single patch has no structure
    together, apart = Maps(2, 4, 4, 0), Maps(2, 4, 4, 0)
    together.add(firing(list(range(40)), dense))
    for i in range(40):
        apart.add(firing([i], dense[i : i + 1]))
    square = dense_moran(dense[0, :, 0].reshape(4, 4))
    for maps in (together, apart):
        found = maps.results(0)
        assert found.columns["moran_i"][0] == pytest.approx(square)
        assert np.isnan(found.columns["moran_i"][1])
        assert found.columns["moran_i_images"].tolist() == [40, 0]
    assert (together.shuffled == apart.shuffled).all()
    chance = found.figures[0].baselines["shuffled_patches"].value
    assert chance == pytest.approx(-1 / 15, abs=0.06)
    assert chance < square / 2


def counted(folder, dense, steps=1, **options):
    folder.mkdir()
    pairs = coactivation.Pairs(folder, dense.shape[2], **options)
    for rows in np.array_split(np.arange(len(dense)), steps):
        pairs.add(firing(rows.tolist(), dense[rows]))
    pieces = list(pairs.partners())
    return {name: np.concatenate([p[name] for p in pieces]) for name in pieces[0]}


def test_partners_are_those_that_fire_together_more_often_than_chance_lets_them(tmp_path):
    dense = np.zeros((100, 1, 4))
    dense[:20, 0, 0] = 1
    dense[:10, 0, 1] = 1  # always with 0
    dense[50:59, 0, 2:] = 1  # together on nine vectors only
    found = counted(tmp_path / "a", dense)
    assert found["latent"].tolist() == [0, 1]
    assert found["partner"].tolist() == [1, 0]
    assert found["count"].tolist() == [10, 10]
    assert found["pmi"] == pytest.approx([math.log(100 * 10 / (20 * 10))] * 2)


def test_partners_do_not_depend_on_steps_or_memory(tmp_path):
    rng = np.random.default_rng(0)
    dense = (rng.random((120, 3, 30)) < rng.random(30)).astype(float)
    whole = counted(tmp_path / "a", dense)
    cut = counted(tmp_path / "b", dense, steps=7, pairs=50, limit=300)
    assert {name: whole[name].tolist() for name in whole} == {
        name: cut[name].tolist() for name in cut
    }
    flat = dense.reshape(-1, 30)
    n_jk, n_j = flat.T @ flat, flat.sum(0)
    expected = np.log(np.maximum(len(flat) * n_jk, 1) / np.outer(n_j, n_j))
    np.fill_diagonal(expected, -np.inf)
    expected[n_jk < 10] = -np.inf
    for j in range(30):
        here = whole["latent"] == j
        largest = np.sort(expected[j])[::-1][:8]
        assert whole["pmi"][here] == pytest.approx(largest[np.isfinite(largest)])


def test_the_interval_of_a_mean_covers_it_and_leaves_out_what_is_not_defined():
    rng = np.random.default_rng(1)
    inside = 0
    for trial in range(100):
        measured = mean_of(rng.normal(3, 1, 40), trial)
        inside += measured.low < 3 < measured.high
    assert 85 <= inside <= 99
    assert mean_of(np.array([1, np.nan, 3]), 0).value == 2
    assert mean_of(np.array([np.nan]), 0) == (None, None, None)


def test_an_image_counts_with_its_largest_patch():
    dense = np.zeros((2, 3, 2))
    dense[0, :, 0] = [1, 3, 2]
    dense[1, 2, 1] = 5
    image, latent, value = largest_per_image(firing([4, 9], dense), 2)
    assert (image.tolist(), latent.tolist(), value.tolist()) == ([0, 1], [0, 1], [3, 5])


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """An analysis of patches."""
    values = vectors(600, patches=4)
    made = Case(tmp_path_factory.mktemp("evaluate"), values, some_labels(600), absent=(3, 300))
    made.analyse()
    return made


ALL = {"redundancy": True, "spatial": True, "coactivation": True}


def test_what_is_not_asked_for_is_not_measured(case, tmp_path):
    found = evaluated(case, tmp_path / "a")
    assert list(figures(found)) == ["gamma.recorded"]
    assert found.results.columns == {}
    assert found.seconds == {}


def test_figures_have_baselines_and_latents_a_row_each(case, tmp_path):
    found = evaluated(case, tmp_path / "a", **ALL)
    assert all(figure.baselines for figure in found.results.figures)
    assert {len(column) for column in found.results.columns.values()} == {24}
    # The vectors are noise: latents have no more structure than chance gives.
    spatial = figures(found)["spatial.mean"]
    assert spatial.measured.value == pytest.approx(
        spatial.baselines["shuffled_patches"].value, abs=0.1
    )
    assert spatial.n == (found.results.columns["moran_i_images"] > 0).sum()
    assert spatial.n <= 22  # two are dead


@pytest.mark.parametrize(
    ("n_latents", "reason"), [(2, "no latent fires"), (1, "there is no other latent")]
)
def test_what_is_not_defined_is_null_and_says_why(n_latents, reason, tmp_path):
    sae = {**TOPK, "n_latents": n_latents, "k": n_latents}  # all are dead
    embeddings = {"layer-00.cls": vectors(300, seed=1)}
    case = Case(tmp_path, vectors(300, patches=4), {}, sae=sae, more=embeddings)
    case.analyse()
    found = figures(evaluated(case, tmp_path / "a", **ALL, monosemanticity="layer-00.cls"))
    del found["gamma.recorded"]
    assert {figure.measured.value for figure in found.values()} == {None}
    assert found["redundancy.mean"].entry()["note"] == reason
    assert found["monosemanticity.mean"].entry()["note"].startswith("nothing fires on two images")
    assert "(no two latents fire together on 10 vectors; " in (
        found["coactivation.mean_largest_pmi"].line()
    )


def test_baselines_are_fitted_on_all_that_was_trained_on(case, tmp_path):
    evaluator = evaluated(case, tmp_path / "a")
    inputs = evaluator.opened.inputs
    rows, values = inputs.activations.read(inputs.stream, 0, 600)
    trained = torch.from_numpy(values[inputs.splits(rows)["train"]].reshape(-1, 10).copy())
    assert torch.equal(evaluator.shared.sample, inputs.sae.normalise(trained).detach())
    assert evaluator.shared.pca.n_fit == len(trained) > len(rows)


def test_every_column_of_a_latent_has_a_title_and_a_meaning(case, tmp_path):
    found = set(evaluated(case, tmp_path / "a", **ALL).results.columns)
    # What these have is tested where other seeds, other streams, masks and text towers are.
    others = {"stability", "monosemanticity", "mask_ap", "suggested", "suggested_margin"}
    assert found | others == {column.name for column in LATENT_COLUMNS}
    assert all(column.meaning for column in LATENT_COLUMNS)


def test_shards_and_threads_change_no_byte(tmp_path):
    values, made = vectors(700, patches=4, d=16), []
    threads = torch.get_num_threads()
    for shard_images, n in ((256, 1), (768, 2)):
        torch.set_num_threads(n)
        case = Case(tmp_path / str(n), values, {}, shard_images=shard_images)
        case.analyse()
        scratch = tmp_path / str(n) / "scratch"
        found = evaluated(case, scratch, **ALL)
        made.append({name: (scratch / name).read_bytes() for name in found.write()})
    torch.set_num_threads(threads)
    assert set(made[0]) == {"evaluation.json", "latents.parquet", "coactivation.parquet"}
    assert made[0] == made[1]


def test_a_class_token_has_no_spatial_structure(tmp_path):
    case = Case(tmp_path, vectors(300), {})
    case.analyse()
    found = figures(evaluated(case, tmp_path / "a", spatial=True))["spatial.mean"]
    assert found.measured.value is None
    assert found.note == "layer-01.cls has no patches"


def arguments(case, out, settings):
    given = folders(case)
    labels = ["--labels", str(given.labels)] if given.labels else []
    return [
        *("--spec", json.dumps({"settings": settings}), "--analysis", str(given.analysis)),
        *("--sae", str(given.sae), "--activations", str(given.activations), *labels),
        *("--out", str(out), "--threads", "1"),
    ]


def test_the_stage_writes_what_its_reader_reads(case, tmp_path):
    out = tmp_path / "evaluations" / "all"
    evaluate.main(arguments(case, out, {"coactivation": True}))
    found = Evaluation(out)
    assert [f["metric"] for f in found.figures] == [
        *("gamma", "redundancy", "redundancy", "stability", "spatial", "coactivation"),
    ]
    for figure in found.figures:
        assert set(figure) >= {"value", "interval", "n", "over", "split", "baselines", "note"}
    assert found.table().column("latent").to_pylist() == list(range(24))
    assert found.partners().num_rows == pq.read_table(out / "coactivation.parquet").num_rows
    assert found.meta["settings"] == {"coactivation": True}
    assert set(found.meta["inputs"]) == {"analyze"}
    (out / "evaluation.json").write_text("{}")
    with pytest.raises(UserError, match="was changed after it was written"):
        Evaluation(out)


def test_an_analysis_of_something_else_is_refused(case, tmp_path):
    other = Case(tmp_path, vectors(600, patches=4, seed=1), {})
    other.analyse()
    mixed = folders(case)._replace(analysis=other.out, labels=None)
    with pytest.raises(UserError, match=r"was made from other .*activations and train"):
        open_all(mixed, torch.device("cpu"))
