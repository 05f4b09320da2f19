"""Values that a dictionary starts with."""

import numpy as np
import pytest
from trained import TOPK, read

from saev import sae as saes
from saev.training.initial import initialise, normalisation_of


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
    sae, plain = saes.build(TOPK, 3), {"normalisation": "none", "seed": 4}
    initialise(sae, array(values), read(TOPK, init_rows=900, **plain))
    np.testing.assert_allclose(sae.b_dec.detach(), values.mean(0), rtol=1e-6)
    initialise(sae, array(values), read(TOPK, init_rows=90, **plain))
    chosen = np.random.default_rng(4).choice(900, 90, replace=False, shuffle=False)
    np.testing.assert_allclose(sae.b_dec.detach(), values[chosen].mean(0), rtol=1e-6)
