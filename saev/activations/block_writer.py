"""Finishes blocks of a shard with several threads, while the tower runs over the next block."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

import numpy as np

from saev.activations.artifact import Stream, to_float32
from saev.activations.loading import BATCH
from saev.activations.moments import Moments
from saev.activations.shards import ShardState
from saev.core.blocks import BLOCK


class BlockWriter:
    """Takes blocks in order. One is filled while the one before it is finished.

    Args:
        shard: what the blocks are appended to.
        dtype: the stored type.
        threads: how many compute statistics and digests. Changes no result.
    """

    def __init__(self, shard: ShardState, dtype: str, threads: int) -> None:
        self.shard, self.dtype = shard, dtype
        self._many = ThreadPoolExecutor(max(1, threads), thread_name_prefix="block")
        self._one = ThreadPoolExecutor(1, thread_name_prefix="blocks")
        self._waiting: Future[None] | None = None
        self._buffers = [
            {s.name: np.empty(shard.shape(s, BLOCK), shard.dtype) for s in shard.streams}
            for _ in range(2)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._one.shutdown()
        self._many.shutdown()

    @property
    def values(self) -> dict[str, np.ndarray]:
        """Arrays for the next block, by stream: (`BLOCK`, d) or (`BLOCK`, n_patches, d)."""
        return self._buffers[0]

    def append(self, records: list[dict[str, Any]], n: int) -> None:
        """Finish the block in `values`, which are other arrays afterwards.

        Args:
            records: one for each of its images, including skipped ones.
            n: how many rows of `values` are filled.

        Raises:
            Exception: what went wrong with the block before this one.
        """
        self.wait()
        block = {name: array[:n] for name, array in self.values.items()}
        self._waiting = self._one.submit(self._finish, records, block)
        self._buffers.reverse()

    def wait(self) -> None:
        """Wait until every block is on the disk.

        Raises:
            Exception: what went wrong with the last one.
        """
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.result()

    def _finish(self, records: list[dict[str, Any]], block: dict[str, np.ndarray]) -> None:
        moments = {
            stream.name: self._moments(block[stream.name], stream) for stream in self.shard.streams
        }
        self.shard.append(records, block, moments, self._many)

    def _moments(self, block: np.ndarray, stream: Stream) -> Moments:
        """Statistics of the stored values, a few images at a time to save memory."""

        def of(start: int) -> Moments:
            part = block[start : start + BATCH].reshape(-1, stream.d)
            return Moments.of(to_float32(part, self.dtype))

        total = Moments.empty(stream.d)
        for part in self._many.map(of, range(0, len(block), BATCH)):
            total = total.merged(part)
        return total
