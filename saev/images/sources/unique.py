"""Requires that no two images have the same key, without keeping the keys in memory."""

from array import array
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from saev.core.errors import UserError

if TYPE_CHECKING:
    import pyarrow


class Unique:
    """Compares the keys of images, piece by piece. Takes 8 bytes of memory for each.

    Args:
        where: what holds the keys, for messages.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self._hashes = array("q")

    def add(self, keys: "pyarrow.Array") -> None:
        """Take a piece of the keys (texts).

        Raises:
            UserError: one is missing or empty.
        """
        texts = keys.to_pylist()
        if not all(texts):
            raise UserError(f"{self.where} holds an empty entry: each image needs its own key")
        self._hashes.extend(map(hash, texts))

    def require(self, again: Iterator["pyarrow.Array"]) -> None:
        """Check all keys, after the last piece.

        Args:
            again: the same pieces once more, read only if two keys may be equal.

        Raises:
            UserError: two keys are equal.
        """
        import numpy as np

        hashes = np.array(self._hashes, np.int64)
        self._hashes = array("q")
        hashes.sort()
        suspects = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
        if not suspects:
            return
        counts: Counter[str] = Counter()
        for piece in again:
            counts.update(text for text in piece.to_pylist() if hash(text) in suspects)
        for key, n in counts.items():
            if n > 1:
                often = "twice" if n == 2 else f"{n:,} times"
                raise UserError(f"{self.where} holds {key!r} {often}: each image needs its own key")
