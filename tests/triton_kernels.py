"""Kernels for a GPU against plain torch: on a CUDA device, or in Triton's interpreter.

    TRITON_INTERPRET=1 python -m pytest tests/triton_kernels.py    without a GPU
    python -m pytest --noconftest tests/triton_kernels.py          on one

The first is what `test_triton_kernels.py` does. Both work where nothing but PyTorch, Triton, Numba
and pytest is installed, if you add `--noconftest`; with the tests' `conftest.py`, a GPU needs
`SAEV_TEST_GPU=1`.
"""

import os

import pytest
import torch
from torch.nn.functional import normalize

from saev.sae.kernels import dense as dense_kernels
from saev.sae.kernels import plain
from saev.sae.kernels import triton as kernels

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
SHAPES = [(1, 5, 9), (7, 33, 200), (7, 130, 9)]  # b, d, n
DTYPES = [torch.float32, torch.bfloat16]


def draw(*shape, seed=0, dtype=torch.float32):
    """Normal numbers."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(DEVICE, dtype)


def codes(b, n, most=20, unused=3):
    """Ragged codes: row 0 is full (n entries), others have up to ``most``, some of them none."""
    generator = torch.Generator().manual_seed(b * n)
    rows = []
    for i in range(b):
        m = n if i == 0 else 0 if i in (2, b - 1) else min(n, most - i)
        rows.append(torch.randperm(n, generator=generator)[:m].sort().values)
    lengths = torch.tensor([0] + [len(row) for row in rows])
    latents = torch.cat([*rows, torch.full((unused,), n)])
    values = torch.rand(len(latents), generator=generator) + 0.5
    values[len(latents) - unused :] = 0
    return lengths.cumsum(0).to(DEVICE), latents.to(DEVICE), values.to(DEVICE)


def dense(starts, latents, values, n):
    """The same as a (b, n) matrix, float64."""
    out = torch.zeros(len(starts) - 1, n, dtype=torch.float64, device=DEVICE)
    for i in range(len(out)):
        entries = slice(int(starts[i]), int(starts[i + 1]))
        out[i, latents[entries]] = values[entries].double()
    return out


def close(ours, reference):
    """Equal to float32 rounding of sums of numbers about 1."""
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours.double(), reference.double(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("b", "d", "n"), SHAPES)
def test_decoding_equals_the_dense_product(b, d, n, dtype):
    ragged, weight = codes(b, n), draw(n, d, dtype=dtype)
    close(kernels.decode(*ragged, weight), dense(*ragged, n) @ weight.double())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("b", "d", "n"), SHAPES)
def test_the_gradient_of_values_is_that_of_autograd(b, d, n, dtype):
    (starts, latents, values), weight, grad = codes(b, n), draw(n, d, dtype=dtype), draw(b, d)
    full = dense(starts, latents, values, n).requires_grad_(True)
    (full @ weight.double()).backward(grad.double())
    ours = kernels.value_gradients(starts, latents, weight, grad)
    m = int(starts[-1])
    row = torch.repeat_interleave(starts.diff())
    close(ours[:m], full.grad[row, latents[:m]])
    assert not ours[m:].any()


@pytest.mark.parametrize(("b", "d", "n"), SHAPES)
def test_the_sum_by_latent_equals_the_transposed_product(b, d, n):
    (starts, latents, values), rows = codes(b, n), draw(b, d)
    offsets, vectors, order = kernels.by_latent(starts, latents, n)
    ours = kernels.sum_by_latent(offsets, vectors, values[order], rows)
    close(ours, dense(starts, latents, values, n).T @ rows.double())


def test_the_view_by_latent_is_sorted_by_latent_then_row():
    starts, latents, _ = codes(7, 9)
    offsets, vectors, order = kernels.by_latent(starts, latents, 9)
    m = int(starts[-1])
    row = torch.repeat_interleave(starts.diff())
    pairs = sorted(zip(latents[:m].tolist(), row.tolist(), range(m), strict=True))
    assert pairs == list(
        zip(latents[order[:m]].tolist(), vectors[:m].tolist(), order[:m].tolist(), strict=True)
    )
    assert offsets.tolist() == [sum(p[0] < j for p in pairs) for j in range(10)]
    assert vectors.max() < 7  # also behind the last entry


def test_codes_without_any_entry_decode_to_zero():
    starts = torch.zeros(4, dtype=torch.int64, device=DEVICE)
    latents, values = starts.new_empty(0), draw(0)
    weight = draw(9, 5)
    assert not kernels.decode(starts, latents, values, weight).any()
    assert kernels.value_gradients(starts, latents, weight, draw(3, 5)).shape == (0,)
    offsets, vectors, order = kernels.by_latent(starts, latents, 9)
    out = kernels.sum_by_latent(offsets, vectors, values[order], draw(3, 5))
    assert out.shape == (9, 5)
    assert not out.any()


def by_sorting(pre, k):
    """Reference: what topk_positive returns, by a stable sort."""
    b, n = pre.shape
    kept = pre.float().sort(dim=1, descending=True, stable=True).indices[:, :k]
    chosen = torch.zeros(b, n, dtype=torch.bool, device=pre.device).scatter_(1, kept, True)
    # Sorting puts any NaN first.
    chosen &= (pre > 0) | pre.isnan()
    row, latent = chosen.nonzero(as_tuple=True)
    starts = torch.nn.functional.pad(chosen.sum(dim=1).cumsum(0), (1, 0))
    return starts, latent, pre[row, latent].float()


def check_topk(pre, k, **sizes):
    """Compare with `by_sorting`."""
    starts, latents, values = kernels.topk_positive(pre, k, **sizes)
    expected_starts, expected_latents, expected_values = by_sorting(pre, k)
    m = int(starts[-1])
    assert torch.equal(starts, expected_starts)
    assert torch.equal(latents[:m], expected_latents)
    torch.testing.assert_close(values[:m], expected_values, rtol=0, atol=0, equal_nan=True)
    assert (latents[m:] == pre.shape[1]).all()
    assert not values[m:].any()
    assert len(latents) == len(values) == len(pre) * k


def tied():
    """Rows of few distinct numbers, of equal ones, and without any that is positive."""
    pre = (draw(7, 200) * 2).round()
    pre[1], pre[2], pre[3] = 1.0, 0.0, -1.0
    pre[4, :-1] = -0.0
    pre[4, -1] = 1e-45  # the least positive float
    pre[5] = torch.arange(200) % 2
    return pre


@pytest.mark.parametrize("k", [1, 5, 64, 200])
@pytest.mark.parametrize("sizes", [{}, {"groups": 16, "capacity": 32}], ids=["whole", "in blocks"])
def test_the_selection_equals_a_stable_sort_also_among_equal_values(k, sizes):
    check_topk(tied(), k, **sizes)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("b", "n", "k"), [(1, 9, 9), (7, 33, 5), (3, 3000, 32)])
def test_the_selection_equals_a_stable_sort_of_random_rows(b, n, k, dtype):
    check_topk(draw(b, n, dtype=dtype), k)


def test_the_selection_is_exact_where_just_k_elements_reach_the_bound_but_do_not_fit():
    pre = torch.full((1, 64), 0.5, device=DEVICE)
    pre[0, :16] = 2.0  # one in each group
    check_topk(pre, 16, groups=16, capacity=8)


def test_candidates_that_do_not_fit_are_counted_but_not_written_into_the_next_row():
    pre = torch.ones(2, 40, device=DEVICE)
    found = torch.full((3, 8), -1, dtype=torch.int32, device=DEVICE)
    counts = found.new_empty(2)
    kernels._find[(2,)](pre, found, counts, 40, 3, 16, 8)
    assert found.tolist() == [list(range(8))] * 2 + [[-1] * 8]
    assert counts.tolist() == [40, 40]


def test_the_selection_counts_nan_and_infinity_as_large():
    pre = draw(2, 40)
    pre[0, 7], pre[0, 20], pre[1, 3], pre[1, 5] = torch.nan, torch.inf, torch.inf, -torch.inf
    check_topk(pre, 3)


@pytest.mark.parametrize("nan", [0x7FC00000, 0x7FFFFFFF])  # of CPUs, and of GPUs
def test_a_row_of_more_nan_than_fit_gives_the_first_of_them(nan):
    pre = torch.full((1, 64), nan, dtype=torch.int32, device=DEVICE).view(torch.float32)
    check_topk(pre, 3, groups=16, capacity=8)


def test_every_sum_is_the_same_to_the_bit_when_repeated():
    (starts, latents, values), weight, rows = codes(7, 200), draw(200, 33), draw(7, 33)
    offsets, vectors, order = kernels.by_latent(starts, latents, 200)
    for function, given in (
        (kernels.decode, (starts, latents, values, weight)),
        (kernels.value_gradients, (starts, latents, weight, rows)),
        (kernels.sum_by_latent, (offsets, vectors, values[order], rows)),
    ):
        assert torch.equal(function(*given), function(*given))


@pytest.mark.parametrize("unit", [True, False], ids=["unit rows", "free"])
@pytest.mark.parametrize(("n", "d"), [(9, 5), (1, 33), (9, 130)])
def test_three_steps_equal_those_of_torch_adam(n, d, unit):
    lr, beta1, beta2, eps = 1e-2, 0.9, 0.999, 1e-8
    ours = normalize(draw(n, d), dim=1)
    theirs = ours.clone().requires_grad_(True)
    adam = torch.optim.Adam([theirs], lr=lr, betas=(beta1, beta2), eps=eps, foreach=False)
    moments = torch.zeros_like(ours), torch.zeros_like(ours)
    for step in (1, 2, 3):
        grad = draw(n, d, seed=step)
        theirs.grad, before = grad.clone(), grad.clone()
        if unit:
            along = (grad * theirs.detach()).sum(dim=1, keepdim=True)
            theirs.grad.addcmul_(along, theirs.detach(), value=-1)
        adam.step()
        if unit:
            theirs.data = normalize(theirs.data, dim=1)
        kernels.project_adam_normalise(
            ours, grad, *moments, lr, float(step), beta1, beta2, eps, unit
        )
        close(ours, theirs.detach())
        close(moments[0], adam.state[theirs]["exp_avg"])
        close(moments[1], adam.state[theirs]["exp_avg_sq"])
        assert torch.equal(grad, before)


def test_adam_takes_tensors_of_many_blocks():
    n, d = 3, 1500  # three blocks of 1024, the last not full
    ours, grad = draw(n, d), draw(n, d, seed=1)
    theirs = ours.clone().requires_grad_(True)
    theirs.grad = grad
    torch.optim.Adam([theirs], lr=0.1, foreach=False).step()
    moments = torch.zeros_like(ours), torch.zeros_like(ours)
    # Adam's first step is lr in every coordinate, and so easily told from none.
    kernels.project_adam_normalise(ours, grad, *moments, 0.1, 1.0, 0.9, 0.999, 1e-8, False)
    close(ours, theirs.detach())


def test_adam_refuses_a_transposed_gradient():
    ours, grad = draw(4, 3), draw(3, 4).T
    with pytest.raises(ValueError, match="contiguous"):
        kernels.project_adam_normalise(
            ours, grad, ours.clone(), ours.clone(), 0.1, 1.0, 0.9, 0.999, 1e-8, False
        )


@pytest.mark.parametrize(("b", "n"), [(1, 9), (7, 200), (300, 130), (3, 1500)])
def test_dense_latents_equal_plain_torch(b, n):
    pre, grad, more = draw(b, n), draw(b, n, seed=1), draw(b, seed=2)
    theta = draw(n, seed=3).abs()
    pre[0, 0] = theta[0]  # not above it, and in the window
    ours, reference = dense_kernels.jump(pre, theta), plain.jump(pre, theta)
    assert all(map(torch.equal, ours, reference))
    for width in (0.1, 1.5):
        ours = dense_kernels.jump_backward(pre, theta, grad, more, width)
        reference = plain.jump_backward(pre, theta, grad, more, width)
        assert torch.equal(ours[0], reference[0])
        torch.testing.assert_close(ours[1], reference[1], rtol=1e-4, atol=1e-4)
        again = dense_kernels.jump_backward(pre, theta, grad, more, width)
        assert torch.equal(ours[1], again[1])
    ours, reference = pre.clone(), pre.clone()
    sums, others = dense_kernels.rectify(ours), plain.rectify(reference)
    assert torch.equal(ours, reference)
    close(sums[0], others[0])
    assert all(map(torch.equal, sums[1:], others[1:]))
    assert torch.equal(
        dense_kernels.rectify_backward(ours, grad, more),
        plain.rectify_backward(reference, grad, more),
    )


def test_a_nan_stays_one_after_rectifying_and_is_not_above_a_threshold():
    pre = torch.tensor([[float("nan"), 1.0, float("inf")]], device=DEVICE)
    z, counts, fired = dense_kernels.jump(pre, torch.full((3,), 0.5, device=DEVICE))
    assert z.tolist() == [[0, 1, float("inf")]]
    assert counts.tolist() == [2]
    assert fired.tolist() == [False, True, True]
    dense_kernels.rectify(pre)
    assert pre[0, 0].isnan()
    with pytest.raises(ValueError, match="contiguous"):
        dense_kernels.rectify(draw(3, 4).T)
