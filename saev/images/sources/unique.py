"""Requires that no two images have the same key, without keeping the keys in memory."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from saev.core.errors import UserError
from saev.core.system_errors import filling

if TYPE_CHECKING:
    import pyarrow

BASE = 0x9E3779B97F4A7C15
"""Of the polynomial that a text is hashed by; any odd number with many bits."""
BYTES = 1 << 18
"""Most bytes of texts to hash at once. Each takes some 40 bytes of memory meanwhile."""
TEXTS = 10_000
"""Most texts to count at once."""
PARTS = 64
"""Parts in which hashes are compared."""
PART = np.uint64(2**64 // PARTS)
"""Width of a part."""

Hashes = NDArray[np.uint64]


class Unique:
    """Compares the keys of images, piece by piece.

    Takes 8 bytes of temporary disk space for each key, and memory for `PARTS` times fewer.

    Args:
        where: what holds the keys, for messages.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as this object)
        self._cuts: list[NDArray[np.int64]] = []
        """Where the parts of each piece begin in the file, and where the last one ends."""

    def add(self, keys: "pyarrow.Array") -> None:
        """Take a piece of the keys (texts).

        Raises:
            UserError: one is missing or empty.
        """
        if keys.null_count or not np.diff(_offsets(keys)).all():
            raise UserError(f"{self.where} holds an empty entry: each image needs its own key")
        found = hashes(keys)
        found.sort()
        start = self._cuts[-1][-1] if self._cuts else 0
        inside = np.searchsorted(found, np.arange(1, PARTS, dtype=np.uint64) * PART)
        self._cuts.append(start + np.array([0, *inside, len(found)], np.int64))
        with filling(tempfile.gettempdir()):
            self._file.write(found.data)
            self._file.flush()

    def require(self, again: Callable[[], Iterator["pyarrow.Array"]]) -> None:
        """Check all keys, after the last piece.

        Args:
            again: gives the same pieces once more; asked only if two keys may be equal.

        Raises:
            UserError: two keys are equal.
        """
        suspects = self._equal()
        if not len(suspects):
            return
        # Different texts have the same hash hardly ever. So the first texts nearly always decide.
        for limit in (TEXTS, None):
            counts: Counter[str] = Counter()
            all_counted = True
            for text in _suspected(again(), suspects):
                if text in counts or limit is None or len(counts) < limit:
                    counts[text] += 1
                else:
                    all_counted = False
            for key, n in counts.items():
                if n > 1:
                    often = "twice" if n == 2 else f"{n:,} times"
                    raise UserError(
                        f"{self.where} holds {key!r} {often}: each image needs its own key"
                    )
            if all_counted:
                return

    def _equal(self) -> Hashes:
        """Hashes that several keys have, sorted."""
        found = [np.empty(0, np.uint64)]
        for number in range(PARTS):
            part = np.concatenate([found[0], *(self._read(cut, number) for cut in self._cuts)])
            part.sort()
            found.append(np.unique(part[1:][part[1:] == part[:-1]]))
        return np.concatenate(found)

    def _read(self, cut: NDArray[np.int64], number: int) -> Hashes:
        """One part of a piece."""
        start, stop = cut[number : number + 2].tolist()
        self._file.seek(start * 8)
        return np.frombuffer(self._file.read((stop - start) * 8), np.uint64)


def hashes(texts: "pyarrow.Array") -> Hashes:
    """Hashes of texts: equal for equal texts, wherever they stand."""
    offsets, data = _offsets(texts), np.frombuffer(texts.buffers()[2] or b"", np.uint8)
    found = np.empty(len(texts), np.uint64)
    start = 0
    while start < len(texts):
        stop = int(np.searchsorted(offsets, offsets[start] + BYTES, "right")) - 1
        if stop > start:
            at = offsets[start : stop + 1]
            found[start:stop] = _polynomials(data[at[0] : at[-1]], at - at[0])
        else:  # a text longer than all that is hashed at once
            stop = start + 1
            whole = data[offsets[start] : offsets[stop]].tobytes()
            found[start] = hash(whole) % 2**64
        start = stop
    return found


def _polynomials(data: NDArray[np.uint8], offsets: NDArray[np.int32]) -> Hashes:
    """For each text the sum of its bytes, each times a power of `BASE` by its place in the text."""
    powers, inverse = _powers()
    sums = np.zeros(len(data) + 1, np.uint64)
    np.cumsum((data + np.uint64(1)) * powers[: len(data)], out=sums[1:])
    found: Hashes = (sums[offsets[1:]] - sums[offsets[:-1]]) * inverse[offsets[:-1]]
    # Short texts have small sums, and parts are cut by the highest bits.
    found ^= found >> np.uint64(32)
    return found * np.uint64(BASE)


@cache
def _powers() -> tuple[Hashes, Hashes]:
    """Powers of `BASE` and of its inverse modulo 2^64."""
    pair = []
    for base in (BASE, pow(BASE, -1, 2**64)):
        factors = np.full(BYTES + 1, base, np.uint64)
        factors[0] = 1
        pair.append(np.cumprod(factors))
    return pair[0], pair[1]


def _offsets(texts: "pyarrow.Array") -> NDArray[np.int32]:
    """Where each text begins in the bytes of all, and where the last one ends."""
    if not len(texts):
        return np.zeros(1, np.int32)
    whole = np.frombuffer(texts.buffers()[1], np.int32)
    return whole[texts.offset : texts.offset + len(texts) + 1]


def _suspected(pieces: Iterator["pyarrow.Array"], suspects: Hashes) -> Iterator[str]:
    """The texts that have one of the hashes."""
    for piece in pieces:
        found = hashes(piece)
        at = np.minimum(np.searchsorted(suspects, found), len(suspects) - 1)
        yield from piece.take(np.flatnonzero(suspects[at] == found)).to_pylist()
