"""The k largest, found without sorting, are those of a sort."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saev.sae.select import largest_positive


def by_sorting(pre, k):
    found = []
    for i, row in enumerate(pre.tolist()):
        best = sorted(range(len(row)), key=lambda j: (-row[j], j))[:k]
        found += [(i, j, row[j]) for j in sorted(best) if row[j] > 0]
    return found


def select(pre, k):
    return list(zip(*(part.tolist() for part in largest_positive(pre, k)), strict=True))


@pytest.mark.parametrize("n", [5, 100, 128, 256, 1280])
@pytest.mark.parametrize("k", [1, 4, 100, 127, 128])
def test_the_largest_of_random_rows_are_those_of_a_sort(n, k):
    pre = torch.from_numpy(np.random.default_rng(n).standard_normal((9, n)).astype(np.float32))
    assert select(pre, min(k, n)) == by_sorting(pre, min(k, n))


@given(
    st.integers(0, 2**32), st.integers(1, 20), st.integers(1, 5), st.sampled_from([20, 256, 384])
)
def test_of_equal_elements_the_first_are_taken(seed, k, distinct, n):
    pre = np.random.default_rng(seed).integers(-1, distinct, (4, n)).astype(np.float32)
    assert select(torch.from_numpy(pre), k) == by_sorting(torch.from_numpy(pre), k)


def test_nothing_gives_nothing():
    assert select(torch.empty(0, 8), 2) == select(torch.full((3, 256), -1.0), 2) == []
