"""Finds the largest elements of rows, or of a whole matrix, on a CPU, without sorting."""

from threading import Lock

import numpy as np
from torch import Tensor, from_numpy

from saev.core.compiled import compiled
from saev.sae.kernels.threads import spread

GROUPS = 128
"""How many groups the elements of a row are divided into."""
BLOCK = 64
"""How many elements are compared at once, before a single one is examined."""


BINS, LOW_BITS = 1 << 16, 15
"""Number of bins: positive floats are counted by their upper bits."""


def largest(pre: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """The k largest elements of each row that are positive; of equal ones the first.

    Gives the positive part of ``pre.topk(k)`` in a fifth of the time. Elements are divided into
    groups. The k-th largest of the groups' maxima is a lower bound on the k-th largest element, and
    only few elements reach it. Other threads can run meanwhile.

    Args:
        pre: (b, n) float32 on a CPU. A NaN counts as larger than any number.
        k: at most n.

    Returns:
        starts (b + 1,) int64; columns (m,) int64, ascending in each row; values (m,) float32.
    """
    array = np.ascontiguousarray(pre.detach().numpy())
    columns, counts = np.empty((len(array), k), np.int64), np.empty(len(array), np.int64)
    spread(_select, len(array), array.view(np.int32), k, columns, counts)
    if (counts == k).all():
        return _with_values(array, np.arange(len(array) + 1) * k, columns.reshape(-1))
    starts = np.concatenate([[0], np.cumsum(counts)])
    return _with_values(array, starts, columns[np.arange(k) < counts[:, None]])


def largest_of_all(pre: Tensor, m: int) -> tuple[Tensor, Tensor, Tensor]:
    """The m largest elements of the whole matrix that are positive; of equal ones the first.

    Args:
        pre: (b, n) float32 on a CPU. A NaN counts as larger than any number.
        m: at most b · n.

    Returns:
        as `largest`.
    """
    array = np.ascontiguousarray(pre.detach().numpy())
    bits = array.view(np.int32)
    at_least = np.cumsum(_histogram(bits)[::-1])[::-1]
    if at_least[0] <= m:
        bound, room = 1, at_least[0]  # all that is positive
    else:
        bin_ = np.flatnonzero(at_least >= m)[-1]
        above = at_least[bin_ + 1] if bin_ + 1 < BINS else 0
        inside = bits[(bits >> LOW_BITS) == bin_]
        inside = inside[inside > 0]
        bound = int(np.partition(inside, -(m - above))[-(m - above)])
        room = m - above - (inside > bound).sum()  # of those that equal the bound
    counts, ties = np.empty(len(bits), np.int64), np.empty(len(bits), np.int64)
    spread(_count, len(bits), bits, bound, counts, ties)
    before = np.concatenate([[0], np.cumsum(ties)])[:-1]
    kept = np.clip(room - before, 0, ties)
    starts = np.concatenate([[0], np.cumsum(counts + kept)])
    columns = np.empty(starts[-1], np.int64)
    spread(_collect, len(bits), bits, bound, kept, starts, columns)
    return _with_values(array, starts, columns)


def _with_values(
    array: np.ndarray, starts: np.ndarray, columns: np.ndarray
) -> tuple[Tensor, Tensor, Tensor]:
    values = np.empty(len(columns), array.dtype)
    spread(_gather, len(array), array, starts, columns, values)
    return from_numpy(starts), from_numpy(columns), from_numpy(values)


def _histogram(bits: np.ndarray) -> np.ndarray:
    """How many positive floats there are by their upper bits: (BINS,) int64."""
    total, lock = np.zeros(BINS, np.int64), Lock()

    def part(start: int, stop: int) -> None:
        counts = np.zeros(BINS, np.int64)
        _add_to_histogram(start, stop, bits, counts)
        with lock:
            np.add(total, counts, out=total)

    spread(part, len(bits))
    return total


@compiled()
def _add_to_histogram(start, stop, bits, counts):
    for r in range(start, stop):
        for bit in bits[r]:
            if bit > 0:
                counts[bit >> LOW_BITS] += 1


@compiled()
def _gather(start, stop, array, starts, columns, values):
    for r in range(start, stop):
        for s in range(starts[r], starts[r + 1]):
            values[s] = array[r, columns[s]]


@compiled()
def _count(start, stop, bits, bound, counts, ties):
    for r in range(start, stop):
        above, equal = 0, 0
        for bit in bits[r]:
            above += int(bit > bound)
            equal += int(bit == bound)
        counts[r], ties[r] = above, equal


@compiled()
def _collect(start, stop, bits, bound, kept, starts, columns):
    for r in range(start, stop):
        written, room = starts[r], kept[r]
        if written == starts[r + 1]:
            continue
        for c in range(bits.shape[1]):
            equal = bits[r, c] == bound
            if bits[r, c] > bound or (equal and room > 0):
                room -= int(equal)
                columns[written] = c
                written += 1


# As integers, the bits of positive floats have the same order, and those of negative floats are
# negative. Maxima and counts of integers become vector instructions. Those of floats don't, because
# of NaN.
@compiled()
def _select(start, stop, bits, k, columns, counts):
    maxima = np.empty(GROUPS, np.int32)
    found = np.empty(bits.shape[1], np.int32)
    found_at = np.empty(bits.shape[1], np.int32)
    for r in range(start, stop):
        counts[r] = _select_row(bits[r], k, columns[r], maxima, found, found_at)


@compiled()
def _select_row(row, k, columns, maxima, found, found_at):
    """Write the columns of the k largest positive elements of a row; return how many there are."""
    n = len(row)
    bound = np.int32(1)  # the least positive float
    if k <= GROUPS <= n:
        maxima[:] = 0
        for start in range(0, n - GROUPS + 1, GROUPS):
            group = row[start : start + GROUPS]
            for i in range(GROUPS):
                maxima[i] = max(maxima[i], group[i])
        bound = max(bound, _kth_largest(maxima, GROUPS, k, 16))
    m = 0
    for start in range(0, n, BLOCK):
        block = row[start : start + BLOCK]
        hits = np.int32(0)
        for i in range(len(block)):
            hits += np.int32(block[i] >= bound)
        if hits:
            for i in range(len(block)):
                if block[i] >= bound:
                    found[m], found_at[m] = block[i], start + i
                    m += 1
    least, room = np.int32(0), m
    if m > k:
        least = _kth_largest(found, m, k, 0)
        room = k
        for i in range(m):
            room -= int(found[i] > least)
    written = 0
    for i in range(m):
        equal = found[i] == least
        if found[i] > least or (equal and room > 0):
            room -= int(equal)
            columns[written] = found_at[i]
            written += 1
    return written


@compiled()
def _kth_largest(values: np.ndarray, m: int, k: int, last_bit: int) -> np.int32:
    """The k-th largest of ``values[:m]``, at least 0, with its bits below ``last_bit`` cleared."""
    largest = np.int32(0)
    for bit in range(30, last_bit - 1, -1):
        trial = np.int32(largest | (1 << bit))
        count = np.int32(0)
        for i in range(m):
            count += np.int32(values[i] >= trial)
        if count >= k:
            largest = trial
    return largest
