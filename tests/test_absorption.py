"""Absorption: by hand, on planted latents, and what is refused."""

import numpy as np
import pytest
import torch
from analysed import TOPK, Case, vectors
from evaluated import evaluated, figures, sparse
from scipy.sparse import csr_array

from saev import sae as saes
from saev.core.errors import UserError
from saev.evaluate.absorption import absorbers
from saev.evaluate.class_latents import of_children, own_latents
from saev.evaluate.classes import Classes
from saev.evaluate.features import largest, mean_of_patches
from saev.evaluate.hierarchy import Side
from saev.settings.evaluation import EvaluationSettings, HierarchySettings
from saev.train.artifact import load


def test_a_latent_absorbs_if_it_says_the_parent_in_place_of_the_parents_own():
    # Latent 0 is the parent's own. Latent 1 is of child 0, latent 2 of child 1, latent 3 of both.
    z = csr_array(
        [
            [2.0, 1, 0, 0],  # the parent's own latent fires
            [0, 1, 0, 0],  # absorbed by 1
            [0, 1, 0, 9],  # 3 adds most, and is of no child alone
            [0, 0, 1, 0],  # of the other child: its latent has no part of the direction
            [0, 1, 3, 0],  # of the other child: 1 adds most, and isn't of it
            [0, 0, 0, 0],  # nothing fires
        ]
    )
    effect, cosine = np.array([1, 0.5, 0.01, 0.4]), np.array([0.9, 0.5, 0.01, 0.4])
    child, tells = np.array([0, 0, 0, 1, 1, 1]), np.array([[0, 1, 0, 0], [0, 0, 1, 0]], bool)
    silent, found = absorbers(z, np.array([0]), effect, cosine, child, tells)
    assert silent.tolist() == [False, True, True, True, True, True]
    assert found.tolist() == [-1, 1, -1, -1, -1, -1]


def test_a_latent_is_of_a_child_on_which_it_fires_twice_as_often(tmp_path):
    z = sparse(tmp_path, np.array([[1, 1, 0], [1, 0, 0], [1, 1, 1], [0, 1, 0], [9, 9, 9]]))
    side = Side(np.array([0, 0, 0, 0, 1]), np.array([5, 5, 7, 7, 8]), z)
    # On child 5: 2/2, 1/2, 0. On child 7: 1/2, 2/2, 1/2.
    expected = [[True, False, False], [False, True, True]]
    assert of_children(side, 0, np.array([5, 7])).tolist() == expected


def test_a_parent_has_as_many_latents_as_make_its_probe_better(tmp_path):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, 400)
    values = np.zeros((400, 5))
    first = np.flatnonzero(codes == 0)
    values[first[::2], 0] = 1  # one half of the class
    values[first[1::2], 3] = 1  # the other half
    values[:, 4] = rng.random(400) < 0.5
    classes = Classes(["a", "b"], np.arange(400), codes, *([np.zeros(0, int)] * 2), {}, "")
    own = own_latents(sparse(tmp_path, values), classes)
    assert sorted(own[0].tolist()) == [0, 3]


def test_an_image_counts_with_the_mean_or_the_largest_of_its_vectors():
    keys, values = np.array([4, 1, 4, 1, 1]), np.array([1, 2, 5, 3, 1], np.float32)
    assert [part.tolist() for part in largest(keys, values, 4)] == [[1, 4], [3, 5]]
    assert [part.tolist() for part in mean_of_patches(keys, values, 4)] == [[1, 4], [1.5, 1.5]]


N, D = 2000, 16
SAE = {**TOPK, "k": 2, "n_latents": 12}


@pytest.fixture
def absorbing(monkeypatch):
    """Makes dictionaries in which latent 4 writes half of latent 3, silent where 4 fires."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(D, 12, generator=generator))[0].T.clone()
    directions[4] = (directions[3] + directions[4]) / 2**0.5
    made = saes.build

    def build(*args):
        sae = made(*args)
        with torch.no_grad():
            sae.W_dec.copy_(directions)
        return sae

    def save(sae, *args, **named):
        with torch.no_grad():
            sae.b_enc.zero_()
            sae.W_enc[:, 3] -= 1.2 * directions[4]
            sae.W_enc[:, 4] -= 0.8 * directions[3]
        saved(sae, *args, **named)

    saved = saes.save
    monkeypatch.setattr(saes, "build", build)
    monkeypatch.setattr(saes, "save", save)


@pytest.mark.parametrize("patches", [0, 4])
def test_a_planted_absorption_is_found(tmp_path, absorbing, patches):
    # Pugs are latent 3, and the few labs 4. All cats are latent 5, and tabbies also 6.
    row = np.arange(N)
    number = np.where(row % 40 == 0, 1, np.array([0, 2, 0, 3])[row % 4])
    labels = {
        "kind": [("dog", "cat")[i // 2] for i in number],
        "breed": [("pug", "lab", "manx", "tabby")[i] for i in number],
    }
    values = 0.05 * vectors(N, D, patches, seed=3)
    sae = load(Case(tmp_path / "a", values, labels, sae=SAE).sae)
    rows = torch.stack([sae.W_dec[i].sum(0) for i in ([3], [4], [5], [5, 6])]).detach()
    planted = sae.denormalise(6 * rows + sae.b_dec).detach().numpy()[number]
    case = Case(
        tmp_path / "b", values + (planted[:, None] if patches else planted), labels, sae=SAE
    )
    case.analyse()
    found = figures(
        evaluated(case, tmp_path / "out", absorption={"parent": "kind", "child": "breed"})
    )
    rate, silent = found["absorption.rate"], found["absorption.silent"]
    held_out = case.open().splits(row)["held_out"]
    labs, pugs = ((number[held_out] == i).sum() for i in (1, 0))
    assert rate.measured.value == pytest.approx(labs / (labs + pugs) / 2)
    assert labs > 5
    assert silent.measured.value == pytest.approx(rate.measured.value)
    assert (rate.n, rate.over, rate.split, rate.of) == (
        *(2, "classes", "held_out"),
        "breed under kind",
    )
    assert set(rate.baselines) == {"untrained_dictionary", "shuffled_children"}
    assert rate.baselines["shuffled_children"].value < rate.measured.value / 4
    assert set(silent.baselines) == {"untrained_dictionary"}


def labelled(folder, parents, children):
    n = len(parents)
    case = Case(folder, vectors(n), {"genus": parents, "species": children})
    case.analyse()
    return case


def test_labels_that_are_no_hierarchy_are_refused_before_anything_is_measured(tmp_path):
    parents = ["a", "a", "b", "b"] * 50
    case = labelled(tmp_path, parents, ["x", "y", "z", "x"] * 50)
    asked = {"parent": "genus", "child": "species"}
    said = r"'x' of species lies under 'a' and 'b' of genus, so these labels are no hierarchy"
    with pytest.raises(UserError, match=said):
        evaluated(case, tmp_path / "a", absorption=asked)


def test_a_parent_without_two_children_has_no_absorption(tmp_path):
    parents = ["a", "b"] * 100
    case = labelled(tmp_path, parents, parents)
    asked = {"parent": "genus", "child": "species"}
    found = figures(evaluated(case, tmp_path / "a", absorption=asked))["absorption.rate"]
    assert found.measured.value is None
    assert found.of == "species under genus"
    assert found.note == "no class of genus has two classes of species with enough images"


def test_its_labels_are_among_those_that_an_evaluation_needs():
    asked = EvaluationSettings(absorption=HierarchySettings(parent="genus", child="species"))
    assert asked.labels_used() == [
        ("absorption.parent", "genus"),
        ("absorption.child", "species"),
    ]
    with pytest.raises(ValueError, match="parent and child are both genus"):
        HierarchySettings(parent="genus", child="genus")
