"""Runs that others ask for as baselines: with an untrained tower or dictionary."""

import pytest
import torch
import trained
from analysed import vectors
from PIL import Image
from synthetic import write_activations

from saev import sae as saes
from saev.core.errors import UserError
from saev.settings.baseline_runs import DICTIONARY, shuffled_of
from saev.settings.config import parse, unused
from saev.train.artifact import load
from saev.workflow.plan import resolve

BOTH = ["untrained_tower", "untrained_dictionary"]


def given(*runs, **sections):
    """Settings whose runs have these fields."""
    sae = {"architecture": "topk", "tokens": "pooled", "n_latents": 8, "k": 2, "patience": 3}
    sae |= {"batch_size": 2, "epochs": 4.0, "lr": 0.1, "held_out": 0.1, "warmup_steps": 5}
    vit = {"model": "ViT-B-16", "weights": "openai", "tokens": ["pooled"], "image_size": 64}
    names = {"images": "i", "vit": "v", "sae": "s", "analysis": "a"}
    return {
        "images": {"i": {"folder": "f"}},
        "vit": {"v": vit},
        "sae": {"s": sae, **sections.get("sae", {})},
        "analysis": {"a": {}, "b": {}},
        "runs": [{**names, **run} for run in runs],
    }


def test_a_run_gets_the_same_run_of_what_learnt_nothing():
    config = parse(given({"baselines": BOTH}))
    assert [(run.vit, run.sae, run.baselines) for run in config.runs] == [
        ("v", "s", ()),
        ("v.untrained", "s", ()),
        ("v", "s.untrained", ()),
    ]
    tower, own = config.vit["v.untrained"], config.vit["v"]
    assert tower == own.model_copy(update={"weights": "random"})
    made = config.sae["s.untrained"]
    assert (made.epochs, made.lr, made.warmup_steps, made.patience) == (1e-12, 1e-12, 0, None)
    assert (made.k, made.n_latents, made.held_out) == (2, 8, 0.1)


def test_the_start_warns_of_an_untrained_tower_beside_a_random_one(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "f/a.png")
    caplog.set_level("INFO")
    raw = given({"baselines": BOTH})
    raw["vit"]["v"]["weights"] = "random"
    raw["sae"]["s"] |= {"batch_size": 1, "held_out": 0.0, "patience": None}
    said = "vit.v: its weights are random, so the baseline untrained_tower says nothing"
    resolve(raw)
    assert caplog.messages.count(said) == 1
    caplog.clear()
    raw["runs"][0]["baselines"] = BOTH[1:]
    resolve(raw)
    assert said not in caplog.messages


def test_runs_share_a_baseline():
    config = parse(given({"baselines": BOTH[:1]}, {"baselines": BOTH[:1]}, {"analysis": "b"}))
    assert [(run.vit, run.analysis) for run in config.runs[2:]] == [
        ("v", "b"),
        ("v.untrained", "a"),
    ]


def test_every_point_of_a_sweep_has_its_baseline():
    swept = {"sweep": {"k": [1, 2]}, "architecture": "topk", "tokens": "pooled", "n_latents": 8}
    swept |= {"batch_size": 2, "epochs": 4.0, "lr": 0.1}
    config = parse(given({"sae": "t", "baselines": ["untrained_dictionary"]}, sae={"t": swept}))
    names = ["t.k-1", "t.k-2"]
    assert [run.sae for run in config.runs] == [*names, *(f"{name}.untrained" for name in names)]


def test_seeds_share_two_dictionaries_of_shuffled_activations():
    swept = {"sweep": {"init_seed": [0, 1], "k": [1, 2]}, "architecture": "topk", "seed": 4}
    swept |= {"tokens": "pooled", "n_latents": 8, "batch_size": 2, "epochs": 4.0, "lr": 0.1}
    config = parse(
        given({"sae": "t", "baselines": ["shuffled_activations"]}, sae={"t": swept}),
    )
    assert [run.sae for run in config.runs] == list(config.sae)[1:5]  # no run is added
    added = {name: one for name, one in config.sae.items() if ".shuffled" in name}
    assert list(added) == [
        f"t.init_seed-0.k-{k}{suffix}" for k in (1, 2) for suffix in (".shuffled", ".shuffled_2")
    ]
    assert [(one.k, one.init_seed) for one in added.values()] == [(1, 4), (1, 5), (2, 4), (2, 5)]
    assert all(one.shuffled_dimensions for one in added.values())
    for run in config.runs:
        named = shuffled_of(run, config.sae)
        assert {config.sae[name].k for name in named} == {config.sae[run.sae].k}
        assert len(named) == 2
    assert not [name for name in unused(config) if ".shuffled" in name]


def test_a_baseline_that_cannot_be_is_refused():
    other = given({"baselines": ["untrained_tower"]})
    other["vit"]["v.untrained"] = {**other["vit"]["v"], "image_size": 32}
    with pytest.raises(UserError, match=r"runs\[0\]\.baselines: .* another vit\.v\.untrained"):
        parse(other)
    found = {"checkpoint": "some/folder", "tokens": "pooled"}
    elsewhere = given({"sae": "e", "baselines": BOTH}, sae={"e": found})
    with pytest.raises(UserError, match=r"sae\.e was trained elsewhere"):
        parse(elsewhere)
    with pytest.raises(UserError, match=r"runs\[0\]\.baselines.*untrained_tower"):
        parse(given({"baselines": ["untrained_vit"]}))


@pytest.mark.parametrize("name", ["topk", "relu", "jumprelu", "matryoshka"])
def test_an_untrained_dictionary_has_the_weights_that_training_starts_from(tmp_path, name):
    given = trained.EVERY[name] | {"schedule": "cosine", "patience": 2, "resample_every": 640}
    own = trained.read(given, init_seed=3)
    changed = {key: value for key, value in DICTIONARY.items() if hasattr(own, key)}
    made = own.model_copy(update=changed).model_dump(mode="json")
    activations = write_activations(tmp_path / "vit", {"layer-01.cls": vectors(300, trained.D)})
    trained.run(made, activations, tmp_path / "out")
    found = load(tmp_path / "out")
    start = saes.build(own, trained.D, torch.Generator().manual_seed(3))
    for weight in ("W_dec", "W_enc"):
        moved = (getattr(found, weight) - getattr(start, weight)).abs().max()
        assert moved < 1e-6
