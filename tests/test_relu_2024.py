"""The preset relu_2024 is what its description says: held by a derivation in numpy."""

import numpy as np
import pytest
import torch
from reference.relu_2024 import Run, terms_and_gradients

from saev.core.errors import UserError
from saev.core.spec import parsed
from saev.sae import build
from saev.settings.presets import PRESETS, expanded
from saev.settings.sae import AnySaeSettings
from saev.train.trainer import Trainer

D, N, B = 16, 64, 32


def dictionary(**more):
    given = {**PRESETS["relu_2024"]["sae"], "n_latents": N, "tokens": "pooled", "epochs": 1.0}
    settings = parsed(AnySaeSettings, given | more)
    sae = build(settings, D, torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        rng = np.random.default_rng(1)
        sae.b_enc.copy_(torch.from_numpy(rng.standard_normal(N) * 0.1))
        sae.b_dec.copy_(torch.from_numpy(rng.standard_normal(D) * 0.1))
        sae.b_enc[-20:] -= 5  # these never fire
    return sae


def parameters(sae):
    return {name: p.detach().numpy().copy() for name, p in sae.named_parameters()}


def vectors(seed):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((B, D)) * rng.uniform(0.5, 3, (B, 1)) + 0.3


@pytest.mark.parametrize("n_dead", [0, 1, 20])
def test_loss_terms_and_gradients_are_those_derived_by_hand(n_dead):
    sae, u = dictionary(), vectors(0)
    dead = np.zeros(N, bool)
    dead[N - n_dead :] = True
    forward = sae.loss(torch.from_numpy(u), 0, torch.arange(N - n_dead, N) if n_dead else None)
    forward.terms.loss.backward()
    expected, gradients, _ = terms_and_gradients(parameters(sae), u, dead)
    for name, value in expected._asdict().items():
        assert getattr(forward.terms, name).item() == pytest.approx(value, rel=1e-11), name
    for name, parameter in sae.named_parameters():
        np.testing.assert_allclose(parameter.grad, gradients[name], rtol=1e-9, atol=1e-14)
    assert (expected.ghost > 0) == (n_dead > 0)


def test_the_first_fifty_steps_are_those_derived_by_hand():
    dead_after = 10 * B
    sae = dictionary(dead_after=dead_after)
    trainer = Trainer(sae, n_steps=50, mean=np.zeros(D))
    by_hand = Run(parameters(sae), dead_after)
    ghosts = 0
    for step in range(50):
        _, forward = trainer.train(vectors(step))
        expected = by_hand.step(vectors(step))
        assert forward.terms.loss.item() == pytest.approx(expected.loss, rel=1e-9)
        assert forward.terms.ghost.item() == pytest.approx(expected.ghost, rel=1e-9)
        ghosts += expected.ghost > 0
    for name, value in parameters(sae).items():
        np.testing.assert_allclose(value, by_hand.p[name], rtol=1e-8, atol=1e-12)
    assert ghosts == 40
    np.testing.assert_array_equal(trainer.silent.numpy(), by_hand.silent)


@pytest.mark.parametrize("option", ["mse_over_norm", "ghost_gradients"])
def test_each_option_changes_the_gradient(option):
    gradients = []
    for value in (False, True):
        sae = dictionary(**{option: value})
        dead = torch.arange(N - 20, N)
        sae.loss(torch.from_numpy(vectors(0)), 0, dead).terms.loss.backward()
        gradients.append(sae.W_enc.grad.clone())
    assert not torch.allclose(*gradients)


def test_a_preset_stands_for_its_settings_and_other_keys_win():
    raw = {
        "sae": {"a": {"preset": "relu_2024", "l1": 1e-3}, "b": {"k": 1}},
        "analysis": {"x": {"preset": "relu_2024"}},
        "runs": [],
    }
    found = expanded(raw)
    assert found["sae"]["a"] == PRESETS["relu_2024"]["sae"] | {"l1": 1e-3}
    assert found["sae"]["b"] == {"k": 1}
    assert found["analysis"]["x"] == {"top_images": 20}
    with pytest.raises(
        UserError, match=r"sae.a.preset: there is no preset 'relu_2042'; allowed: relu_2"
    ):
        expanded({"sae": {"a": {"preset": "relu_2042"}}})
