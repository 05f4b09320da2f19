"""Stability: dictionaries with other seeds, found, compared and refused."""

import itertools
import json
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from analysed import TOPK, Case, vectors, write_sae
from evaluated import OFF, evaluated, figures, folders
from project import TOWER, draw_pictures
from scipy.optimize import linear_sum_assignment
from synthetic import write_activations

from saev.activations.artifact import Activations
from saev.analyze.neighbours import nearest, random_rows
from saev.core.errors import UserError
from saev.evaluate import __main__ as evaluate
from saev.evaluate.artifact import Evaluation
from saev.evaluate.stability import compare, match_exactly, match_greedily
from saev.tools.garbage import _reached
from saev.train.loader import InMemory, batches
from saev.train.shuffled import permute, shuffled_batches
from saev.workflow import jobs
from saev.workflow.plan import resolve


def test_a_latent_is_as_stable_as_its_nearest_one_in_the_other_dictionary():
    ours = torch.tensor([[1.0, 0], [0, 1.0], [3.0, 4.0]])
    theirs = torch.tensor([[2.0, 0], [1.0, 1.0], [1.0, 0]])
    found = compare(ours, theirs)
    assert found.ours == pytest.approx([1, 0.5**0.5, 7 / 50**0.5])
    assert found.theirs == pytest.approx([1, 7 / 50**0.5, 1])
    # Two of theirs are near the first of ours, and only one can have it.
    cosines = torch.nn.functional.cosine_similarity(ours[:, None], theirs[None], dim=2)
    orders = itertools.permutations(range(3))
    best = max(float(cosines[range(3), list(order)].sum()) for order in orders)
    assert found.matched.sum() == pytest.approx(best)


def test_a_dictionary_is_as_stable_as_can_be_beside_itself_in_another_order():
    rows = random_rows(300, 16, seed=0)
    other = rows[torch.randperm(300, generator=torch.Generator().manual_seed(1))]
    for exact in (300, 0):
        found = compare(rows, other, exact)
        for values in found:
            assert values == pytest.approx(np.ones(300), abs=1e-6)


def test_the_exact_matching_is_scipys_and_the_greedy_one_is_close():
    a, b = random_rows(120, 8, seed=1), random_rows(120, 8, seed=2)
    cosines = (a @ b.T).double().numpy()
    best = cosines[linear_sum_assignment(-cosines)]
    assert match_exactly(a, b) == pytest.approx(best, abs=1e-6)
    greedy = match_greedily(nearest(a, b, 120, other=True))
    assert 0.9 * best.sum() < greedy.sum() <= best.sum() + 1e-6
    alone = match_greedily(nearest(a, b, 2, other=True))
    assert 0 < np.isnan(alone).sum() < 60


@pytest.fixture
def case(tmp_path):
    made = Case(tmp_path, vectors(300, d=12), {})
    made.analyse()
    return made


def seeds(case, *numbers, **changes):
    return [
        write_sae(
            case.activations / f"seed-{n}",
            case.activations,
            case.stream,
            {**TOPK, "init_seed": n, **changes},
        )
        for n in numbers
    ]


def test_a_run_is_compared_with_its_other_seeds_and_with_chance(case, tmp_path):
    found = evaluated(case, tmp_path / "a", more={"seeds": seeds(case, 1, 2)}, stability=True)
    named = figures(found)
    assert {f"stability.{n}" for n in ("mean", "share_70", "both_ways", "matched")} <= set(named)
    mean = named["stability.mean"]
    assert mean.measured.value == pytest.approx(found.results.columns["stability"].mean())
    assert mean.note == "2 other seeds"
    # All three have random weights: they are no more alike than chance.
    assert mean.measured.value == pytest.approx(mean.baselines["random_directions"].value, abs=0.1)


def test_without_other_seeds_it_says_how_to_have_some(case, tmp_path):
    found = figures(evaluated(case, tmp_path / "a", stability=True))["stability.mean"]
    assert found.measured.value is None
    assert "sweep: {init_seed: [0, 1, 2]}" in found.note


@pytest.mark.parametrize(
    ("changes", "what"),
    [({"n_latents": 30}, "number of latents"), ({"seed": 9}, "seed of the order")],
)
def test_what_differs_in_more_than_the_seed_is_refused(case, tmp_path, changes, what):
    given = {"seeds": seeds(case, 1, **changes)}
    with pytest.raises(UserError, match=f"another {what} .*only init_seed may differ"):
        evaluated(case, tmp_path / "a", more=given, stability=True)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Settings of six images, a tower and dictionaries with three seeds and two k."""
    monkeypatch.chdir(tmp_path)
    draw_pictures(tmp_path / "pictures", 6)
    (tmp_path / "tower.json").write_text(json.dumps(TOWER))
    sae = {
        **{"architecture": "topk", "tokens": "cls", "layer": 1, "n_latents": 8},
        **{"batch_size": 2, "epochs": 9.0, "lr": 0.1},
    }
    vit = {"model": "tower.json", "weights": "random", "layers": [0, -1], "tokens": ["cls"]}
    return {
        "images": {"pets": {"folder": "pictures"}},
        "vit": {"t": vit},
        "sae": {"s": {**sae, "sweep": {"init_seed": [0, 1, 2], "k": [1, 2]}}},
        "analysis": {"a": {}},
        "evaluation": {"e": {}},
        "runs": [{"images": "pets", "vit": "t", "sae": "s", "analysis": "a", "evaluation": "e"}],
    }


def test_the_plan_finds_the_seeds_of_a_sweep_and_waits_for_their_trainings(project):
    plan = resolve(project)
    evaluations = jobs.of_stage(plan, "evaluate")
    assert len(evaluations) == 6
    for job in evaluations:
        trainings = [path for path in job.inputs if path.name == ".train_sae.done"]
        assert len(trainings) == 3
        point = job.folder.parents[2].name
        k = point.partition("k-")[2][:1]
        assert all(f"k-{k}" in path.parent.name for path in trainings)
        (seeds,) = {tuple(plan.component("evaluation", job.folder.name)["seeds"])}
        assert point not in seeds
        assert len(seeds) == 2


def test_the_plan_trains_two_dictionaries_of_shuffled_activations_for_all_seeds(project):
    project["sae"]["s"]["sweep"] = {"init_seed": [0, 1, 2]}
    project["sae"]["s"]["k"] = 2
    project["runs"][0]["baselines"] = ["shuffled_activations"]
    plan = resolve(project)
    trainings = {job.folder.name: job for job in jobs.of_stage(plan, "train")}
    added = [name for name in trainings if ".shuffled" in name]
    assert (len(trainings), len(added)) == (5, 2)
    assert plan.settings("sae", added[0]).shuffled_dimensions
    for job in jobs.of_stage(plan, "evaluate"):
        assert {trainings[name].stamp for name in added} <= {*job.inputs}
        resolved = plan.component("evaluation", job.folder.name)["resolved"]
        assert resolved["shuffled"] == added
    assert len(jobs.of_stage(plan, "analyze")) == 6  # a part and the merge of each seed
    assert {trainings[name].folder for name in added} <= _reached(plan)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"evaluation": None}, "name one with stability"),
        ({"sae": "one"}, "no other run differs in init_seed alone"),
    ],
)
def test_shuffled_activations_without_a_stability_are_refused(project, change, said):
    project["sae"]["one"] = {k: v for k, v in project["sae"]["s"].items() if k != "sweep"}
    run = {**project["runs"][0], "baselines": ["shuffled_activations"], **change}
    project["sae"]["one"]["k"] = 5
    project["runs"].append({k: v for k, v in run.items() if v is not None})
    with pytest.raises(UserError, match=said):
        resolve(project)


def test_shuffled_vectors_keep_the_values_of_each_dimension_and_nothing_that_belongs_together():
    x = np.arange(4000, dtype=np.float32).reshape(1000, 4)
    made = permute(x.copy(), 0, 5, 7)
    assert (np.sort(made, axis=0) == x).all()
    assert abs(np.corrcoef(made.T) - np.eye(4)).max() < 0.15
    assert (made == permute(x.copy(), 0, 5, 7)).all()
    assert (made != permute(x.copy(), 0, 5, 8)).any()


def test_a_batch_of_shuffled_vectors_depends_on_its_step_alone(tmp_path):
    values = vectors(300)
    reader = Activations(write_activations(tmp_path, {"layer-01.cls": values}))
    opened = InMemory(reader, reader.streams["layer-01.cls"], np.arange(300))

    def made(first, share=None):
        whole = batches(opened, 64, 5, first, 8)
        return [batch.copy() for batch in shuffled_batches(whole, 5, first, share)]

    assert all((one == two).all() for one, two in zip(made(0)[3:], made(3), strict=True))
    assert all(
        (one[16:32] == two).all() for one, two in zip(made(0), made(0, (16, 32)), strict=True)
    )
    (plain,) = batches(opened, 64, 5, 3, 4)
    assert (np.sort(plain, axis=0) == np.sort(made(3)[0], axis=0)).all()


def test_stability_stands_beside_that_of_shuffled_activations(case, tmp_path):
    (same,) = seeds(case, 7)
    pair = [same, same]  # as if training had found the same latents twice
    given = {"more": {"seeds": seeds(case, 1)}, "shuffled": pair}
    found = figures(evaluated(case, tmp_path / "a", stability=True, **given))
    for name, chance in (("mean", 1), ("share_70", 1), ("both_ways", 1), ("matched", 1)):
        figure = found[f"stability.{name}"]
        assert set(figure.baselines) == {"random_directions", "shuffled_activations"}
        assert figure.baselines["shuffled_activations"].value == pytest.approx(chance)
        assert figure.measured.value < 0.95


def test_the_stage_tells_seeds_from_shuffled_activations(case, tmp_path):
    given, others = folders(case), seeds(case, 1, 2, 3)
    names = [path.name for path in others]
    resolved = {"seeds": names[:1], "shuffled": names[1:]}
    spec = {"settings": {**OFF, "stability": True}, "resolved": resolved, "code": "x"}
    out = tmp_path / "evaluations/e"
    arguments = ["--spec", json.dumps(spec), "--analysis", given.analysis, "--sae", given.sae]
    arguments += ["--activations", given.activations, "--out", out, "--threads", "1"]
    arguments += [f"--seed={path}" for path in others]
    arguments += ["--labels", given.labels] * (given.labels is not None)
    evaluate.main([str(argument) for argument in arguments])
    (mean,) = (f for f in Evaluation(out).figures if f["name"] == "mean")
    assert mean["note"] == "1 other seed"
    assert set(mean["baselines"]) == {"random_directions", "shuffled_activations"}


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        ("layer-01.cls", "is what the dictionary sees"),
        ("pooled", "isn't recorded .*; allowed: layer-00.cls"),
        ("layer-00.cls", None),
    ],
)
def test_embeddings_are_checked_before_anything_runs(project, stream, said):
    project["evaluation"]["e"]["monosemanticity"] = stream
    refused = pytest.raises(UserError, match=rf"evaluation\.e\.monosemanticity: {stream} {said}")
    with refused if said else nullcontext():
        resolve(project)
