"""The k largest, found without sorting, are those of a sort."""

import itertools
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from saev.sae import kernels
from saev.sae.kernels import cpu, plain, selection


def by_sorting(pre, k):
    found = []
    for i, row in enumerate(pre.tolist()):
        best = sorted(range(len(row)), key=lambda j: (-row[j], j))[:k]
        found += [(i, j, row[j]) for j in sorted(best) if row[j] > 0]
    return found


def triples(found):
    starts, columns, values = (part.tolist() for part in found)
    assert len(columns) == starts[-1]
    rows = [i for i, (a, b) in enumerate(itertools.pairwise(starts)) for _ in range(a, b)]
    return list(zip(rows, columns, values, strict=True))


def largest(pre, k):
    return triples(selection.largest(pre, k))


@pytest.mark.parametrize("n", [5, 100, 128, 256, 1280])
@pytest.mark.parametrize("k", [1, 4, 100, 127, 128])
def test_the_largest_of_random_rows_are_those_of_a_sort(n, k):
    pre = torch.from_numpy(np.random.default_rng(n).standard_normal((9, n)).astype(np.float32))
    assert largest(pre, min(k, n)) == by_sorting(pre, min(k, n))


@given(
    st.integers(0, 2**32), st.integers(1, 20), st.integers(1, 5), st.sampled_from([20, 256, 384])
)
def test_of_equal_elements_the_first_are_taken(seed, k, distinct, n):
    pre = np.random.default_rng(seed).integers(-1, distinct, (4, n)).astype(np.float32)
    assert largest(torch.from_numpy(pre), k) == by_sorting(torch.from_numpy(pre), k)


def test_nothing_gives_nothing():
    assert largest(torch.empty(0, 8), 2) == largest(torch.full((3, 256), -1.0), 2) == []


def by_sorting_all(pre, m):
    flat = [(i, j, v) for i, row in enumerate(pre.tolist()) for j, v in enumerate(row)]
    best = sorted(flat, key=lambda entry: (-entry[2], entry[0], entry[1]))[:m]
    return sorted(entry for entry in best if entry[2] > 0)


@pytest.mark.parametrize("m", [1, 10, 300, 900])
def test_the_largest_of_a_matrix_are_those_of_a_sort(m):
    pre = torch.from_numpy(np.random.default_rng(m).standard_normal((150, 6)).astype(np.float32))
    assert triples(selection.largest_of_all(pre, m)) == by_sorting_all(pre, m)


@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(1, 5))
def test_of_equal_elements_of_a_matrix_the_first_are_taken(seed, m, distinct):
    pre = np.random.default_rng(seed).integers(-1, distinct, (5, 12)).astype(np.float32)
    pre = torch.from_numpy(pre)
    assert triples(selection.largest_of_all(pre, m)) == by_sorting_all(pre, m)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("b", "n", "d"), [(1, 9, 5), (7, 130, 33), (200, 40, 3)])
def test_each_compiled_loop_equals_the_plain_one(b, n, d, threads):
    generator = torch.Generator().manual_seed(b)
    pre = torch.randn(b, n, generator=generator)
    pre[0] = -1  # a vector without a latent
    weight, rows = (torch.randn(size, d, generator=generator) for size in (n, b))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    for k in (1, 4, n):
        codes = cpu.largest(pre, k)
        for fast, slow in (
            (codes, plain.largest(pre, k)),
            (cpu.largest_of_all(pre, b * k), plain.largest_of_all(pre, b * k)),
            (cpu.by_latent(*codes[:2], n), plain.by_latent(*codes[:2], n)),
        ):
            assert all(map(torch.equal, fast, slow))
        order = cpu.by_latent(*codes[:2], n)
        for fast, slow in (
            (cpu.decode(*codes, weight), plain.decode(*codes, weight)),
            (
                cpu.sum_by_latent(order, codes[2], rows),
                plain.sum_by_latent(order, codes[2], rows),
            ),
        ):
            torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-5)
        given = (*codes, weight, weight[0], rows)
        for fast, slow in zip(cpu.reconstruct(*given), plain.reconstruct(*given), strict=True):
            torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-4)
    for bound in (torch.tensor(0.5), torch.linspace(-1, 1, n)):
        for at_most in (None, int((pre > bound).sum())):
            fast, slow = (kind.above(pre, bound, at_most) for kind in (cpu, plain))
            assert all(map(torch.equal, fast, slow))
            assert all(fast[2] > bound.expand(n)[fast[1]])
        assert cpu.above(pre, bound, at_most - 1) is plain.above(pre, bound, at_most - 1) is None
    for fast, slow in zip(
        cpu.squared_error(rows, 2 * rows[:, :1] * rows),
        plain.squared_error(rows, 2 * rows[:, :1] * rows),
        strict=True,
    ):
        torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-5)
    z, other = pre.clone(), pre.clone()
    found = (cpu.rectify(z), plain.rectify(other))
    assert torch.equal(z, other)
    assert all(map(torch.equal, found[0][1:], found[1][1:]))
    torch.testing.assert_close(found[0][0], found[1][0])
    assert torch.equal(
        cpu.rectify_backward(z, pre, pre[:, 0].contiguous()),
        plain.rectify_backward(z, pre, pre[:, 0].contiguous()),
    )
    theta = torch.linspace(0.1, 1, n)
    assert all(map(torch.equal, cpu.jump(pre, theta), plain.jump(pre, theta)))
    given = (pre, theta, pre.cos(), pre[:, 0].contiguous(), 3.0)
    found = (cpu.jump_backward(*given), plain.jump_backward(*given))
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-5, atol=1e-5)
    assert found[0][1].abs().max() > 0
    torch.set_num_threads(before)


class Largest(TorchDispatchMode):
    """Notes the largest tensor that any operation makes."""

    numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for one in made if isinstance(made, tuple) else (made,):
            self.numel = max(self.numel, one.numel() if isinstance(one, torch.Tensor) else 0)
        return made


def test_no_plain_function_makes_a_row_for_each_entry_of_the_codes(monkeypatch):
    b, n, d, k = 30, 40, 16, 20
    monkeypatch.setattr(plain, "AT_ONCE", 7 * d)
    pre, weight, u = torch.randn(b, n), torch.randn(n, d), torch.randn(b, d)
    starts, latents, values = plain.largest(pre.abs(), k)
    with Largest() as seen:
        found = plain.reconstruct(starts, latents, values, weight, weight[0], u)
        plain.sum_by_latent(plain.by_latent(starts, latents, n), values, u)
    assert len(values) == b * k
    assert seen.numel < b * k * d / 8
    rows = torch.repeat_interleave(starts.diff())
    torch.testing.assert_close(found[2], (found[0][rows] * weight[latents]).sum(dim=1))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_adam_is_the_one_of_pytorch_also_in_the_other_order_of_memory(dtype, transposed):
    weights = [torch.randn(7, 13, dtype=dtype) for _ in range(3)]
    weights = [w.T.contiguous().T if transposed else w for w in weights]
    weights[1:] = [w.copy_(weights[0]) for w in weights[1:]]
    theirs = torch.nn.Parameter(weights[2])
    optimizer = torch.optim.Adam([theirs], lr=0.05)
    moments = [[torch.zeros_like(w) for _ in range(2)] for w in weights[:2]]
    for step in range(1, 6):
        grad = torch.randn(7, 13, dtype=dtype)
        theirs.grad = 0.5 * grad
        optimizer.step()
        for kernel, weight, own in zip((cpu, plain), weights, moments, strict=False):
            given = grad.T.contiguous().T if transposed else grad
            kernel.adam(weight, given, *own, rate=0.05, step=step, scale=0.5, unit_rows=False)
            torch.testing.assert_close(weight, theirs.detach(), rtol=1e-5, atol=1e-6)


def test_rows_that_adam_keeps_at_norm_1_do_not_follow_a_gradient_along_them():
    start = torch.nn.functional.normalize(torch.randn(5, 9), dim=1)
    results = []
    for kernel in (cpu, plain):
        weight, moments = start.clone(), [torch.zeros(5, 9) for _ in range(2)]
        grad = torch.randn(5, 9, generator=torch.Generator().manual_seed(1)) + 3 * start
        kernel.adam(weight, grad, *moments, rate=0.1, step=1, scale=1.0, unit_rows=True)
        torch.testing.assert_close(weight.norm(dim=1), torch.ones(5))
        assert float((moments[0] * start).sum(dim=1).abs().max()) < 1e-6
        assert float(moments[0].norm(dim=1).min()) > 0.1
        results.append(weight)
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)


def test_moments_that_lie_otherwise_than_their_weight_are_refused():
    weight, other = torch.zeros(3, 5), torch.zeros(5, 3).T
    with pytest.raises(ValueError, match="same layout in memory"):
        cpu.adam(weight, weight, other, other, rate=0.1, step=1, scale=1.0, unit_rows=False)


@pytest.fixture
def gpu(monkeypatch):
    """A tensor on a GPU, as far as the choice of kernels looks; returns what describes that GPU."""
    tensor = SimpleNamespace(device=torch.device("cuda:0"), dtype=torch.float32)
    kernels._has_kernels.cache_clear()

    def described(capability=(8, 0), refused=None, triton=True):
        monkeypatch.setattr(kernels, "_refused", lambda index: refused)
        monkeypatch.setattr(kernels, "find_spec", lambda name: triton or None)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Tesla T4")
        return tensor

    yield described
    kernels._has_kernels.cache_clear()


def test_a_gpu_has_kernels_of_its_own(gpu, said):
    assert kernels.of(gpu()).__name__ == "saev.sae.kernels.gpu"
    assert said() == ""


@pytest.mark.parametrize(
    ("lacking", "why"),
    [
        ({"capability": (7, 5)}, "Tesla T4 has no bfloat16 products of its own"),
        ({"refused": "no compiler"}, "Triton can't start a kernel (no compiler). It needs a C"),
        ({"triton": False}, "Triton isn't installed"),
    ],
)
def test_where_they_can_not_run_plain_pytorch_does_and_says_why_once(gpu, said, lacking, why):
    for _ in range(2):
        assert kernels.of(gpu(**lacking)) is plain
    begun = f"warning: dictionaries run on plain PyTorch, which is slower: {why}"
    assert said().startswith(begun)
    assert said().count("warning") == 1


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Failed to find C compiler. Please specify via CC …"),
        subprocess.CalledProcessError(1, ["/usr/bin/gcc", "main.c"]),
        FileNotFoundError(2, "No such file or directory", "/nonexistent/.triton"),
        AssertionError("libcuda.so cannot found!\nPlease make sure GPU is set up …"),
    ],
    ids=["no compiler", "no headers", "no home", "no driver"],
)
def test_what_keeps_triton_from_starting_a_kernel_is_found_by_starting_one(error, monkeypatch):
    triton = pytest.importorskip("saev.sae.kernels.triton", exc_type=ImportError)

    def decode(*given):
        if isinstance(error, Exception):
            raise error

    monkeypatch.setattr(torch, "device", lambda *given: "cpu")
    monkeypatch.setattr(triton, "decode", decode)
    assert kernels._refused(0) == f"{type(error).__name__}: {error}".splitlines()[0]
    error = None
    assert kernels._refused(0) is None
    error = torch.OutOfMemoryError("CUDA out of memory")  # no reason to go another way
    with pytest.raises(torch.OutOfMemoryError):
        kernels._refused(0)


def test_the_square_root_of_adam_is_correctly_rounded_on_every_processor():
    x = torch.rand(100_000, generator=torch.Generator().manual_seed(0)) ** 4
    found = plain.square_root(x)
    # That of float64 has more than twice the digits, so its rounding changes nothing.
    exact = np.sqrt(x.numpy().astype(np.float64)).astype(np.float32)
    assert (found.numpy() == exact).all()
