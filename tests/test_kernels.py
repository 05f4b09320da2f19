"""The k largest, found without sorting, are those of a sort."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saev.sae.kernels import cpu, plain, select


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
    return triples(select.largest(pre, k))


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
    assert triples(select.largest_of_all(pre, m)) == by_sorting_all(pre, m)


@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(1, 5))
def test_of_equal_elements_of_a_matrix_the_first_are_taken(seed, m, distinct):
    pre = np.random.default_rng(seed).integers(-1, distinct, (5, 12)).astype(np.float32)
    pre = torch.from_numpy(pre)
    assert triples(select.largest_of_all(pre, m)) == by_sorting_all(pre, m)


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
                cpu.products(*codes[:2], weight, rows),
                plain.products(*codes[:2], weight, rows),
            ),
            (
                cpu.sum_by_latent(order, codes[2], rows),
                plain.sum_by_latent(order, codes[2], rows),
            ),
        ):
            torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-5)
    torch.set_num_threads(before)
