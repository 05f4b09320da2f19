"""Figures of reconstruction, against values worked out by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saev.core import metrics
from saev.train import step_sums

# Two vectors, mean (2, 2): Σ‖x − x̄‖² = 8. Errors (1, 0) and (0, 2): 5. ⟨x, xh⟩ = 0 + 8, ‖xh‖² = 1
# + 4.
X = np.array([[0.0, 0.0], [4.0, 4.0]])
XH = np.array([[1.0, 0.0], [4.0, 2.0]])
SHIFT = np.array([1.0, -3.0])


def sums(x=X, xh=XH, shift=SHIFT):
    return metrics.block_sums(x, xh, np.array([1, 4]), np.array([0.5, 2.0]), shift)


def test_each_figure_has_the_value_worked_out_by_hand():
    s = sums()
    assert metrics.nmse(s) == pytest.approx(5 / 16)
    assert metrics.explained_variance(s) == pytest.approx(11 / 16)
    assert metrics.l0(s) == 2.5
    assert metrics.l1(s) == 1.25
    # The first vector has length 0; the second: 24 / (√32 · √20).
    assert metrics.cosine(s) == pytest.approx(24 / np.sqrt(32 * 20) / 2)
    assert metrics.relative_reconstruction_bias(s) == pytest.approx(21 / 24)
    # About (1, −3): (1 + 9) + (9 + 49).
    assert metrics.nmse_about_shift(s) == pytest.approx(5 / 68)


def test_predicting_the_mean_has_nmse_one_and_a_copy_has_zero():
    x = np.random.default_rng(0).normal(3, 2, (500, 7))
    mean = np.broadcast_to(x.mean(0), x.shape)
    zeros = np.zeros(500)
    assert metrics.nmse(metrics.block_sums(x, mean, zeros, zeros, x[0])) == pytest.approx(1)
    assert metrics.nmse(metrics.block_sums(x, x, zeros, zeros, x[0])) == 0


@given(st.floats(0.01, 100))
def test_nmse_does_not_change_when_both_are_scaled(scale):
    assert metrics.nmse(sums(X * scale, XH * scale, SHIFT * scale)) == pytest.approx(5 / 16)


def test_a_large_common_offset_does_not_cost_digits():
    offset = np.array([1e8, -1e8])
    assert metrics.nmse(sums(X + offset, XH + offset, SHIFT + offset)) == pytest.approx(5 / 16)


def test_shrunk_reconstructions_have_a_bias_below_one():
    x = np.random.default_rng(0).normal(size=(50, 3))
    zeros = np.zeros(50)
    s = metrics.block_sums(x, 0.5 * x, zeros, zeros, np.zeros(3))
    assert metrics.relative_reconstruction_bias(s) == pytest.approx(0.5)


def test_what_is_not_defined_is_none():
    empty = metrics.ReconstructionMetrics(np.zeros(2))
    assert set(empty.figures().values()) == {None}
    same = np.ones((3, 2))
    s = metrics.block_sums(same, same * 0.9, np.zeros(3), np.zeros(3), np.zeros(2))
    assert metrics.nmse(s) is None
    assert metrics.explained_variance(s) is None
    zero = metrics.block_sums(same * 0, same * 0, np.zeros(3), np.zeros(3), np.zeros(2))
    assert metrics.relative_reconstruction_bias(zero) is None
    assert metrics.cosine(zero) == 0


def test_merging_stored_blocks_equals_updating_bit_by_bit():
    rng = np.random.default_rng(1)
    whole, merged = (metrics.ReconstructionMetrics(np.ones(5)) for _ in range(2))
    blocks = []
    for size in (256, 700, 3):
        x = rng.normal(size=(size, 5)).astype(np.float32)
        l0, l1 = rng.integers(0, 9, size), rng.random(size)
        blocks.append(whole.update(x, x + rng.normal(size=x.shape), l0, l1))
    merged.merge(metrics.unstack(metrics.stack(blocks[:1], 5)))
    merged.merge(metrics.unstack(metrics.stack(blocks[1:], 5)))
    assert merged.figures() == whole.figures()
    assert whole.sums.n == 959
    assert metrics.unstack(metrics.stack([], 5)) == []


def test_sums_of_a_step_are_those_of_its_block_on_every_device():
    u = torch.randn(700, 9, generator=torch.manual_seed(0))
    residual, centre = torch.randn_like(u) / 3, torch.linspace(-1, 1, 9).double()
    n_active = torch.arange(700)
    l0, l1 = n_active.numpy(), np.zeros(700)
    block = metrics.block_sums(u.numpy(), (u - residual).numpy(), l0, l1, centre.numpy())
    step = step_sums.step_sums(u, residual, n_active, centre)
    assert step == (block.n, block.error, block.about_shift, block.l0)
    on_gpu = step_sums._on_a_gpu(u, u - residual, centre)
    assert on_gpu == pytest.approx((block.error, block.about_shift), rel=1e-14)
    assert metrics.nmse_about_shift(step) == metrics.nmse_about_shift(block)
    assert metrics.l0(step) == metrics.l0(block)
