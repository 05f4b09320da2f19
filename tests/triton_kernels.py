"""Kernels for a GPU against plain torch: on a CUDA device, or in Triton's interpreter.

    TRITON_INTERPRET=1 python -m pytest tests/triton_kernels.py    without a GPU
    python -m pytest tests/triton_kernels.py                       on one

The first is what `test_triton_kernels.py` does.
"""

import os
from contextlib import nullcontext

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from saev.sae.base import unit_rows
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
    ours = unit_rows(draw(n, d))
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
            theirs.data = unit_rows(theirs.data)
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


EVERY = {
    "topk": {"k": 5},
    "batchtopk": {"k": 60},  # more than are positive
    "matryoshka": {"k": 5, "widths": [20, 70]},
    "matryoshka over topk": {"k": 5, "widths": [20, 70], "over": "topk"},
    "archetypal": {"k": 5, "n_points": 30},
    "relu": {"l1": 0.01},
    "jumprelu": {"sparsity": 0.01, "bandwidth": 0.5, "initial_threshold": 0.1},
}


def trainer_of(name, monkeypatch, kernel):
    """A trainer of a small dictionary with these kernels, some of whose latents are dead."""
    from saev import sae as saes
    from saev.sae import kernels as chosen
    from saev.train import read_settings
    from saev.training.trainer import Trainer

    settings = read_settings(
        {
            "architecture": name.split()[0], "tokens": "pooled", "n_latents": 70, **EVERY[name],
            "aux_k": 9, "aux_coefficient": 0.5, "dead_after": 20, "batch_size": 8, "epochs": 1.0,
            "lr": 0.01, "clip_norm": 0.05,
        }
    )  # fmt: skip
    monkeypatch.setattr(chosen, "of", lambda _: kernel)
    sae = saes.build(settings.model_dump(), 33, torch.Generator().manual_seed(0))
    with torch.no_grad():
        sae.b_enc[60:] -= 50
    trainer = Trainer(sae.to(DEVICE), settings, n_steps=14, mean=torch.zeros(33).numpy())
    trainer.silent[60:] = 20
    return trainer


@pytest.mark.parametrize("name", EVERY)
def test_steps_with_them_equal_steps_on_a_cpu_and_do_not_wait_for_the_device(name, monkeypatch):
    from saev.sae.kernels import cpu, gpu

    # Without the rounding of factors, on which hangs what is selected.
    monkeypatch.setattr(gpu, "HALF", torch.float32)
    batches = [draw(8, 33, seed=step).cpu().numpy() for step in range(4)]
    trained = []
    for kernel in (cpu, gpu):
        trainer = trainer_of(name, monkeypatch, kernel)
        forwards = [trainer.train(batches[0])[1]]  # looks for dead latents, and waits
        assert len(trainer.dead_latents) == 10
        with NoWaiting() if kernel is gpu else nullcontext():
            forwards += [trainer.train(batch)[1] for batch in batches[1:]]
        assert all(forward.terms.aux > 0 for forward in forwards)
        trained.append(
            [
                *trainer.tensors().values(),
                *(part for f in forwards for part in (*f.terms, f.residual, f.n_active, f.fired)),
            ]
        )
    for one, other in zip(*trained, strict=True):
        torch.testing.assert_close(one.detach().cpu(), other.detach().cpu(), rtol=1e-3, atol=1e-4)


class NoWaiting(TorchDispatchMode):
    """Refuses what makes the host wait for a GPU's numbers: by name without a GPU, by PyTorch's own check on one."""

    WAITING = (
        "_local_scalar_dense", "nonzero", "masked_select", "bincount", "repeat_interleave", "unique"
    )  # fmt: skip

    def __enter__(self):
        if DEVICE == "cuda":
            torch.cuda.set_sync_debug_mode("error")
        return super().__enter__()

    def __exit__(self, *given):
        if DEVICE == "cuda":
            torch.cuda.set_sync_debug_mode("default")
        return super().__exit__(*given)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        assert not name.startswith(self.WAITING), name
        if name in ("index", "index_put", "index_put_"):
            assert all(i is None or i.dtype != torch.bool for i in args[1]), name
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x[x > 0],
        lambda x: float(x.sum()),
        lambda x: (x > 0).nonzero(),
        lambda x: torch.repeat_interleave((x > 0).long()),
    ],
    ids=["mask", "item", "nonzero", "repeat"],
)
def test_waiting_would_be_seen(wait):
    with pytest.raises((AssertionError, RuntimeError)), NoWaiting():
        wait(draw(5))


@pytest.mark.parametrize("by_column", [True, False], ids=["by column", "by row"])
@pytest.mark.parametrize(("b", "p", "q"), [(9, 33, 20), (3, 8, 5), (2, 1, 1)])
def test_products_are_of_bfloat16_numbers_with_all_bits_of_the_bias(b, p, q, by_column):
    from saev.sae.kernels import gpu

    x, weight, bias, grad = (draw(*s, seed=i) for i, s in enumerate([(b, p), (p, q), (q,), (b, q)]))
    weight = weight.T.contiguous().T if by_column else weight
    given = [t.clone().requires_grad_(True) for t in (x, weight, bias)]
    ours = gpu.affine(*given)
    ours.backward(grad)
    x, weight, half = (t.bfloat16().double() for t in (x, weight, grad))
    expected = x @ weight + bias.double()
    close(ours, expected)
    out = torch.empty_like(ours)
    close(gpu.encode(*(t.detach() for t in given), out), expected)
    close(given[0].grad, half @ weight.T)
    close(given[1].grad, x.T @ half)
    close(given[2].grad, grad.double().sum(dim=0))
    assert given[1].grad.stride() == given[1].stride()


def test_codes_are_multiplied_with_bfloat16_numbers():
    from saev.sae.kernels import gpu, plain

    (starts, latents, values), weight, u = codes(7, 20, unused=0), draw(20, 33), draw(7, 33)
    bias = draw(33, seed=1)
    residual, sums, products = gpu.reconstruct(starts, latents, values, weight, bias, u)
    half = weight.bfloat16().float()
    close(residual, plain.reconstruct(starts, latents, values, half, bias, u)[0])
    close(sums, residual.square().sum(dim=1))
    rows = torch.repeat_interleave(starts.diff())
    rounded = residual.bfloat16().float()
    close(products, (rounded[rows] * half[latents]).sum(dim=1))
    order = gpu.by_latent(starts, latents, 20)
    close(
        gpu.sum_by_latent(order, values, u),
        plain.sum_by_latent(order, values, u.bfloat16().float()),
    )


def test_a_product_with_nothing_else_gives_the_bias_as_it_is():
    from saev.sae.kernels import gpu

    bias = torch.tensor([0.0, 1 / 3, -1e-20, 1 + 2**-23, 12345.678], device=DEVICE)
    assert torch.equal(gpu.affine(draw(4, 6) * 0, draw(6, 5), bias), bias.expand(4, 5))


def roomless(found):
    """Codes without the room behind them, which must be of latent n and 0."""
    m = int(found[0][-1])
    assert (found[1][m:] == N_ROOM).all()
    assert not found[2][m:].any()
    return found[0], found[1][:m], found[2][:m]


N_ROOM = 40


@pytest.mark.parametrize("m", [1, 30, 90, 200, 7 * N_ROOM])
def test_the_largest_of_a_matrix_have_room_behind_them_where_fewer_are_positive(m):
    from saev.sae.kernels import gpu, plain

    pre = draw(7, N_ROOM)
    pre[2] = -1
    found = gpu.largest_of_all(pre, m)
    assert len(found[1]) == len(found[2]) == m
    assert all(map(torch.equal, roomless(found), plain.largest_of_all(pre, m)))


def test_entries_that_are_kept_move_together_and_leave_room_behind():
    from saev.sae.kernels import gpu, plain

    starts, latents, values = codes(7, N_ROOM)
    m = int(starts[-1])
    for kept in (values > 1, latents < 13, values > 9, values > -1):
        found = gpu.keep(starts, latents, values, kept, N_ROOM)
        assert len(found[1]) == len(latents)
        expected = plain.keep(starts, latents[:m], values[:m], kept[:m], N_ROOM)
        assert all(map(torch.equal, roomless(found), expected))


def test_joined_codes_have_no_room_between_them():
    from saev.sae.kernels import gpu, plain

    parts = [codes(7, N_ROOM), codes(4, 13), codes(2, N_ROOM, unused=0)]
    ends = [int(part[0][-1]) for part in parts]
    bare = [(s, at[:m], v[:m]) for (s, at, v), m in zip(parts, ends, strict=True)]
    expected = plain.joined(bare, N_ROOM)
    found = roomless(gpu.joined(parts, N_ROOM))
    assert all(map(torch.equal, found, expected))
    assert found[0].diff().tolist() == [n for part in parts for n in part[0].diff().tolist()]
