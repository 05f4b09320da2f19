"""Values that a dictionary starts with."""

import numpy as np
import pytest
import torch
from trained import JUMPRELU, TOPK, build

from saev.train.initial import geometric_median, initialise, normalisation_of


def array(values):
    class Array:
        n, d = values.shape

        def gather(self, indices):
            return values[indices].astype(np.float32)

    return Array()


def test_each_normalisation_has_the_mean_and_scale_that_it_names():
    values = np.array([[3.0, 4.0, 7.0], [-3.0, 4.0, 7.0], [0.0, 0.0, 7.0], [0.0, 8.0, 7.0]])
    mean, scale = normalisation_of(array(values), "centred", [0])
    assert mean.tolist() == [0, 4, 7]
    assert scale.tolist() == [1, 1, 1]
    mean, scale = normalisation_of(array(values), "per_dimension", [0])
    assert mean.tolist() == [0, 4, 7]
    assert scale == pytest.approx([np.sqrt(18 / 4), np.sqrt(32 / 4), 1])  # the last one is constant
    mean, scale = normalisation_of(array(values), "unit_norm", [0])
    assert mean.tolist() == [0, 0, 0]
    assert scale == pytest.approx([np.linalg.norm(values, axis=1).mean()] * 3)


def test_the_decoders_bias_starts_at_the_mean_of_the_rows_drawn():
    values = np.random.default_rng(0).normal(5, 2, (900, 3)).astype(np.float32)
    plain = {"normalisation": "none", "seed": 4}
    sae = initialised(values, init_rows=900, **plain)
    np.testing.assert_allclose(sae.b_dec.detach(), values.mean(0), rtol=1e-6)
    sae = initialised(values, init_rows=90, **plain)
    chosen = np.random.default_rng(4).choice(900, 90, replace=False, shuffle=False)
    np.testing.assert_allclose(sae.b_dec.detach(), values[chosen].mean(0), rtol=1e-6)


def initialised(values, settings=TOPK, n_latents=40, **changes):
    sae = build(settings, values.shape[1], n_latents=n_latents, **changes)
    initialise(sae, array(values))
    return sae


def test_the_geometric_median_has_the_least_sum_of_distances_and_heeds_no_outlier():
    # Four corners of a square: the median is where the diagonals cross, wherever the fourth corner
    # lies on its diagonal.
    values = np.array([[1, 0], [0, 1], [-1, 0], [0, -9]], np.float32)
    options = {"b_dec_init": "geometric_median", "normalisation": "none"}
    sae = initialised(values, **options)
    np.testing.assert_allclose(sae.b_dec.detach(), [0, 0], atol=1e-4)

    values = np.random.default_rng(0).normal(5, 2, (5000, 3)).astype(np.float32)
    values[:50] += 1000
    point = geometric_median(sae_of(3), array(values), np.arange(5000))

    def cost(at):
        return np.linalg.norm(values - at, axis=1).sum()

    for step in 0.01 * np.vstack([np.eye(3), -np.eye(3)]):
        assert cost(point) < cost(point + step)
    assert np.abs(point - 5).max() < 0.2 < np.abs(values.mean(0) - 5).min()


def sae_of(d):
    return build(TOPK, d)


def test_the_geometric_median_is_one_of_the_normalised_space_and_a_vector_may_be_it():
    values = np.random.default_rng(1).normal(0, 1, (300, 2)).astype(np.float32) * [1, 50]
    sae = initialised(values, b_dec_init="geometric_median", normalisation="per_dimension")
    u = sae.normalise(torch.from_numpy(values.astype(np.float32))).double().numpy()
    expected = geometric_median(sae_of(2), array(u), np.arange(300))
    np.testing.assert_allclose(sae.b_dec.detach(), expected, atol=1e-5)
    same = np.array([[2, 3]] * 7 + [[9, 9], [-4, 0]], np.float32)
    found = geometric_median(sae_of(2), array(same), np.arange(9))
    np.testing.assert_allclose(found, [2, 3], atol=1e-4)
    found = geometric_median(sae_of(2), array(same[:7]), np.arange(7))
    assert found.tolist() == [2, 3]


@pytest.mark.parametrize("normalisation", ["none", "centred", "unit_norm", "per_dimension"])
def test_latents_can_start_as_directions_of_training_vectors(normalisation):
    values = np.random.default_rng(2).normal(5, 2, (90, 6)).astype(np.float32)
    sae = initialised(values, init="data", normalisation=normalisation, seed=3)
    chosen = np.sort(np.random.default_rng([3, 0, 3]).choice(90, 40, replace=False, shuffle=False))
    u = (
        values[chosen] - sae.norm_mean.numpy()
    ) / sae.norm_scale.numpy() - sae.b_dec.detach().numpy()
    expected = u / np.linalg.norm(u, axis=1, keepdims=True)
    np.testing.assert_allclose(sae.W_dec.detach(), expected, atol=1e-5)
    scale = sae.initial_encoder_scale()
    assert scale < 1
    torch.testing.assert_close(sae.W_enc.detach(), sae.W_dec.detach().T * scale)


def test_latents_without_a_vector_of_their_own_keep_a_random_direction():
    values = np.random.default_rng(2).normal(5, 2, (30, 6)).astype(np.float32)
    values[4] = values[7] = [1, 2, 3, 4, 5, 6]
    sae = build(TOPK, 6, n_latents=40)
    before = sae.W_dec.detach().clone()
    with torch.no_grad():
        sae.b_dec.copy_(torch.from_numpy(values[4]))
    sae.point_at(torch.from_numpy(values))
    kept = (sae.W_dec == before).all(dim=1).nonzero().flatten().tolist()
    assert kept == [4, 7, *range(30, 40)]
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(40))


@pytest.mark.parametrize("init", ["tied", "data"])
@pytest.mark.parametrize("target", [2, 7.5, 30])
def test_thresholds_start_where_as_many_latents_fire_as_aimed_at(target, init):
    values = np.random.default_rng(2).normal(5, [1, 2, 3, 4, 5, 60], (3000, 6)).astype(np.float32)
    plain = JUMPRELU | {"initial_threshold": "data", "l0_target": target, "init": init}
    sae = initialised(values, plain)
    active = (sae.encode(torch.from_numpy(values)) > 0).sum(dim=1).float().mean()
    # More than half of the latents can't fire: pre-activations are as often negative.
    assert active == pytest.approx(min(target, 20), rel=0.05)
    given = initialised(values, plain, initial_threshold=0.3)
    torch.testing.assert_close(given.log_threshold.exp(), torch.full((40,), 0.3))
