"""Sweeps: `sweep:` in an entry of `sae` is written out into ordinary entries."""

import copy

import pytest
from test_settings import GOOD

from saev.core.errors import UserError
from saev.settings.component import digest
from saev.settings.config import parse
from saev.settings.sae import SAE_SETTINGS
from saev.settings.sweep import expand


def swept(sweep, **own):
    """Settings whose entry `small` is swept; keys of ``own`` that are None are taken out of it."""
    raw = copy.deepcopy(GOOD)
    entry = raw["sae"]["small"] | own | {"sweep": sweep}
    raw["sae"]["small"] = {key: value for key, value in entry.items() if value is not None}
    return raw


def test_a_grid_has_a_point_for_every_combination_with_the_digest_of_its_own_settings():
    config = parse(swept({"k": [2, 4], "lr": [0.1, 0.01]}, k=None, lr=None))
    assert list(config.sae) == [
        "small.k-2.lr-0.1",
        "small.k-2.lr-0.01",
        "small.k-4.lr-0.1",
        "small.k-4.lr-0.01",
    ]
    plain = parse(GOOD).sae["small"].essential()
    assert config.sae["small.k-2.lr-0.1"].essential() == plain
    written = plain | {"k": 4, "lr": 0.01}
    assert digest(config.sae["small.k-4.lr-0.01"].essential()) == digest(written)
    assert config.sweeps == {"small": list(config.sae)}


def test_points_by_name_take_their_own_keys_each():
    config = parse(swept({"few": {"k": 2}, "many": {"k": 6, "warmup_steps": 9}}, k=None))
    assert [config.sae[f"small.{n}"].k for n in ("few", "many")] == [2, 6]
    assert [config.sae[f"small.{n}"].warmup_steps for n in ("few", "many")] == [0, 9]


def test_a_run_with_a_swept_entry_stands_for_all_its_points_and_one_with_a_point_for_that():
    raw = swept({"k": [2, 4, 6]}, k=None)
    assert [run.sae for run in parse(raw).runs] == ["small.k-2", "small.k-4", "small.k-6"]
    raw["runs"][0]["sae"] = "small.k-4"
    assert [run.sae for run in parse(raw).runs] == ["small.k-4"]


def test_any_key_of_any_architecture_can_be_swept():
    keys = {key for kind in SAE_SETTINGS.values() for key in kind.model_fields}
    for key in keys:
        found = expand({"sae": {"a": {"sweep": {key: [1]}}}})[0]["sae"]
        assert found == {f"a.{key}-1": {key: 1}}
    jumprelu = {"architecture": "jumprelu", "sparsity": 0.1}
    found = parse(swept({"l0_target": [2, 4]}, k=None, **jumprelu)).sae
    assert [sae.l0_target for sae in found.values()] == [2, 4]
    found = parse(swept({"widths": [[2, 8], [2, 4, 8]]}, architecture="matryoshka")).sae
    assert {name: sae.widths for name, sae in found.items()} == {
        "small.widths-2_8": (2, 8),
        "small.widths-2_4_8": (2, 4, 8),
    }


def test_a_point_added_leaves_the_others_as_they_are():
    two = parse(swept({"k": [2, 4]}, k=None)).sae
    three = parse(swept({"k": [2, 3, 4]}, k=None)).sae
    assert {name: three[name] for name in two} == two


def test_a_sweep_wins_over_a_preset_as_the_entry_does():
    raw = copy.deepcopy(GOOD)
    own = {"layer": 11, "tokens": "cls", "n_latents": 8, "epochs": 1}
    raw["sae"]["small"] = {"preset": "relu_2024", **own, "sweep": {"l1": [0.1, 0.2]}}
    found = parse(raw).sae
    assert [found[f"small.l1-{value}"].l1 for value in (0.1, 0.2)] == [0.1, 0.2]
    assert found["small.l1-0.1"].ghost_gradients is True


def test_a_value_that_is_a_list_itself_is_one_value():
    raw = {"sae": {"a": {"sweep": {"layer": [[1, 2], [3]]}}}}
    assert expand(raw)[0]["sae"] == {
        "a.layer-1_2": {"layer": [1, 2]},
        "a.layer-3": {"layer": [3]},
    }


def test_a_list_outside_of_a_sweep_stays_a_list():
    raw = copy.deepcopy(GOOD)
    raw["sae"]["small"]["k"] = [2, 4]
    assert expand(raw) == (raw, {})
    with pytest.raises(UserError, match=r"sae\.small\.k: a list: "):
        parse(raw)


@pytest.mark.parametrize(
    ("sweep", "own", "said"),
    [
        ({"zzz": [1]}, {}, ["sae.small.sweep.zzz: unknown key", "allowed: ", "n_latents"]),
        ({"n_latent": [1]}, {}, ["sae.small.sweep.n_latent", "did you mean 'n_latents'"]),
        ({"k": []}, {"k": None}, ["sae.small.sweep.k", "a list with at least one value"]),
        ({"k": 3}, {"k": None}, ["sae.small.sweep.k: 3", "a list with at least one value"]),
        ({}, {}, ["sae.small.sweep: {}", "a list of values"]),
        ([2, 4], {}, ["sae.small.sweep: [2, 4]"]),
        ({"k": [2]}, {}, ["sae.small.sweep.k", "also given in the entry itself (2)"]),
        ({"a": {"k": 2}}, {}, ["sae.small.sweep.a.k", "also given in the entry itself"]),
        (
            {"a": {"k": 2}, "lr": [1]},
            {"k": None},
            ["sae.small.sweep.a: is a mapping, but other keys"],
        ),
        ({"k": [2, 99]}, {"k": None}, ["sae.small.k-99", "k: 99 is larger than n_latents: 8"]),
        ({"k": [2, "x"]}, {"k": None}, ["sae.small.k-x.k: 'x'", "must be a whole number"]),
        ({"l1": [2]}, {}, ["sae.small.l1-2.l1: unknown key", "architecture topk"]),
        ({"a": {"seed": 0}, "b": {}}, {}, ["'small.a' and 'small.b' have equal settings"]),
        ({"k": [2, 2]}, {"k": None}, ["two entries called 'small.k-2'"]),
        ({"x" * 60: {"seed": 1}}, {}, ["sae.small.sweep", "at most 64", "name the points"]),
        ({"a b": {"seed": 1}}, {}, ["'small.a b' is not a valid name"]),
    ],
)
def test_a_wrong_sweep_is_named_with_its_key_and_what_is_allowed(sweep, own, said):
    with pytest.raises(UserError) as caught:
        parse(swept(sweep, **own))
    for text in said:
        assert text in str(caught.value)


def test_a_point_called_like_another_entry_is_refused():
    raw = swept({"k": [2]}, k=None)
    raw["sae"]["small.k-2"] = GOOD["sae"]["small"]
    with pytest.raises(UserError, match=r"two entries called 'small.k-2'"):
        parse(raw)


def test_a_problem_of_a_run_is_named_with_the_number_that_the_user_gave_it():
    raw = swept({"k": [2, 4], "layer": [6, 11]}, k=None, layer=None)
    raw["runs"].append({**raw["runs"][0], "vit": "clpi"})
    with pytest.raises(UserError, match=r"runs\[1\].vit: there is no 'clpi'"):
        parse(raw)
    raw = swept({"layer": [6, 12]}, layer=None)
    with pytest.raises(UserError, match=r"runs\[0\] .*sae 'small.layer-12'.*trains on layer 12"):
        parse(raw)
