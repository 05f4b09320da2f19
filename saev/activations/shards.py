"""Writes a shard: appends blocks to arrays in its state, which become its files at the end.

After each block of the listing, small files record its rows, records and statistics, and the
SHA-256 of its part of each array. After a job was killed, the next try resumes after the last
complete block.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from saev.activations.artifact import Stream, shard_array, shard_records, shard_rows, shard_stats
from saev.activations.moments import Moments
from saev.core.blocks import BLOCK
from saev.core.files import (
    canonical_json,
    sha256_bytes,
    sha256_file,
    sync_folder,
    to_json,
    write_bytes,
)

HEADER_BYTES = 128


class Block(NamedTuple):
    """What is kept about a finished block, besides its activations and statistics."""

    records: list[dict[str, Any]]
    """One record per row of the listing, in row order."""
    sha256: dict[str, str]
    """SHA-256 of the block's part of each stream's array, by stream."""
    stats: str
    """SHA-256 of the file with its statistics."""

    @property
    def rows(self) -> list[int]:
        """Rows with activations."""
        return [r["row"] for r in self.records if r["skipped"] is None]


class ShardState:
    """The unfinished files of a shard.

    Args:
        folder: the locked state.
        out: the directory of the activations.
        shard: number of the shard.
        streams: what is recorded.
        dtype: numpy type of the stored activations.
        n_images: number of images in the shard.
    """

    def __init__(
        self,
        folder: Path,
        out: Path,
        shard: int,
        streams: tuple[Stream, ...],
        dtype: np.dtype,
        n_images: int,
    ) -> None:
        self.folder, self.out, self.shard = folder, out, shard
        self.streams, self.dtype = streams, dtype
        self.n_images, self.n_blocks = n_images, -(-n_images // BLOCK)
        self.blocks: list[Block] = []
        self._files: dict[str, IO[bytes]] = {}
        self._whole = {s.name: self._begun(s) for s in streams}
        """SHA-256 of each array's file so far, as it will be if no image is skipped."""
        self._resume()

    @property
    def n_rows(self) -> int:
        """Rows written so far."""
        return sum(len(block.rows) for block in self.blocks)

    def shape(self, stream: Stream, n_rows: int) -> tuple[int, ...]:
        """Shape of a stream's array of ``n_rows`` images."""
        if stream.kind == "patches":
            return (n_rows, stream.n_patches, stream.d)
        return (n_rows, stream.d)

    def append(
        self,
        records: list[dict[str, Any]],
        values: dict[str, np.ndarray],
        moments: dict[str, Moments],
        threads: Executor,
    ) -> None:
        """Add the next block.

        Args:
            records: one for each of its images, including skipped ones.
            values: by stream, in the stored dtype, one row per image that isn't skipped.
            moments: statistics by stream.
            threads: to hash and write with.
        """
        from safetensors.numpy import save

        data = {
            name: np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
            for name, array in values.items()
        }
        names = [stream.name for stream in self.streams]
        found = {name: threads.submit(sha256_bytes, data[name]) for name in names}
        work = [threads.submit(self._whole[name].update, data[name]) for name in names]
        work += [threads.submit(self._write, name, data[name]) for name in names]
        for future in work:
            future.result()
        digests = {name: future.result() for name, future in found.items()}
        number = len(self.blocks)
        arrays = {
            f"{name}.{field}": array
            for name, moment in moments.items()
            for field, array in moment.arrays().items()
        }
        stats = save(arrays)
        write_bytes(self._stats_path(number), stats)
        block = Block(records, digests, sha256_bytes(stats))
        kept = {"block": block._asdict(), "sha256": _digest(block)}
        write_bytes(self._block_path(number), to_json(kept))
        self.blocks.append(block)

    def finish(self) -> list[dict[str, Any]]:
        """Move all files to their final places, each complete or absent.

        Returns:
            ``name``, ``bytes`` and ``sha256`` of each, for the sidecar.
        """
        for file in self._files.values():
            file.close()
        self._files = {}
        entries = [self._place_array(stream) for stream in self.streams]
        rows = np.array([row for block in self.blocks for row in block.rows], np.int64)
        entries.append(self._place(shard_rows(self.shard), _npy(rows)))
        entries.append(self._place(shard_records(self.shard), self._records()))
        entries.append(self._place(shard_stats(self.shard), self._stats()))
        return sorted(entries, key=lambda entry: entry["name"])

    def _resume(self) -> None:
        """Keep the blocks of which all files still have their SHA-256. Drop the rest."""
        found = list(self._finished_blocks())
        complete = len(found) == self.n_blocks
        offsets = dict.fromkeys((s.name for s in self.streams), HEADER_BYTES)
        own = {s.name: self._array_path(s.name) for s in self.streams}
        paths = dict(own)
        for stream in self.streams:
            final = self.out / shard_array(stream.name, self.shard)
            # An earlier try was killed while it moved finished arrays to their places.
            if complete and not paths[stream.name].exists() and final.exists():
                paths[stream.name] = final
        for block in found:
            parts = {}
            for stream in self.streams:
                size = self._bytes(stream, len(block.rows))
                parts[stream.name] = _read_part(paths[stream.name], offsets[stream.name], size)
            if any(sha256_bytes(parts[n]) != block.sha256[n] for n in parts):
                break
            for name, part in parts.items():
                offsets[name] += len(part)
                self._whole[name].update(part)
            self.blocks.append(block)
        if len(self.blocks) < self.n_blocks and paths != own:
            # A file in its final place can't be continued, so start them all again.
            self.blocks, offsets = [], dict.fromkeys(offsets, HEADER_BYTES)
            self._whole = {stream.name: self._begun(stream) for stream in self.streams}
        for number in range(len(self.blocks), self.n_blocks):
            self._block_path(number).unlink(missing_ok=True)
        for stream in self.streams:
            path = self._array_path(stream.name)
            if len(self.blocks) < self.n_blocks or path.exists():
                path.touch()
                os.truncate(path, offsets[stream.name])

    def _finished_blocks(self) -> Iterator[Block]:
        for number in range(self.n_blocks):
            block = self._finished_block(number)
            if block is None:
                return
            yield block

    def _finished_block(self, number: int) -> Block | None:
        """A block as it was written; None if it wasn't, or if one of its files was damaged."""
        try:
            kept = json.loads(self._block_path(number).read_bytes())
            block = Block(**kept["block"])
            whole = kept["sha256"] == _digest(block)
            whole = whole and sha256_file(self._stats_path(number)) == block.stats
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        return block if whole else None

    def _begun(self, stream: Stream) -> "hashlib._Hash":
        return hashlib.sha256(_header(self.shape(stream, self.n_images), self.dtype))

    def _write(self, name: str, data: memoryview) -> None:
        if name not in self._files:
            file = self._array_path(name).open("r+b")
            file.seek(0, os.SEEK_END)
            self._files[name] = file
        self._files[name].write(data)
        self._files[name].flush()

    def _place_array(self, stream: Stream) -> dict[str, Any]:
        n_rows = self.n_rows
        header = _header(self.shape(stream, n_rows), self.dtype)
        size = HEADER_BYTES + self._bytes(stream, n_rows)
        path, name = self._array_path(stream.name), shard_array(stream.name, self.shard)
        final = self.out / name
        if path.exists():
            with path.open("r+b") as file:
                file.write(header)
                file.flush()
                os.fsync(file.fileno())
            if path.stat().st_size != size:
                raise RuntimeError(f"{path} has {path.stat().st_size} bytes, not {size}")
            final.parent.mkdir(parents=True, exist_ok=True)
            path.replace(final)
            sync_folder(final.parent)
        # The header comes first but is known last: it counts the rows.
        whole = n_rows == self.n_images
        sha256 = self._whole[stream.name].hexdigest() if whole else sha256_file(final)
        return {"name": name, "bytes": size, "sha256": sha256}

    def _place(self, name: str, data: bytes) -> dict[str, Any]:
        write_bytes(self.out / name, data)
        return {"name": name, "bytes": len(data), "sha256": sha256_bytes(data)}

    def _records(self) -> bytes:
        import pyarrow as pa
        import pyarrow.parquet as pq

        records = [record for block in self.blocks for record in block.records]
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(records, schema=records_schema()), sink)
        return sink.getvalue().to_pybytes()

    def _stats(self) -> bytes:
        """Statistics of all blocks, stacked: (blocks, …) by ``<stream>.<field>``."""
        from safetensors.numpy import load, save

        blocks = [load(self._stats_path(n).read_bytes()) for n in range(self.n_blocks)]
        return save({name: np.stack([b[name] for b in blocks]) for name in sorted(blocks[0])})

    def _bytes(self, stream: Stream, n_rows: int) -> int:
        return n_rows * stream.n_patches * stream.d * self.dtype.itemsize

    def _array_path(self, name: str) -> Path:
        return self.folder / f"{name}.npy"

    def _block_path(self, number: int) -> Path:
        return self.folder / f"block-{number:05}.json"

    def _stats_path(self, number: int) -> Path:
        return self.folder / f"block-{number:05}.safetensors"


def records_schema() -> Any:
    """Columns of `images.parquet`."""
    import pyarrow as pa

    crop = [(f"crop_{side}", pa.float64()) for side in ("left", "top", "right", "bottom")]
    return pa.schema(
        [
            ("row", pa.int64()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("sha256", pa.string()),
            *crop,
            ("skipped", pa.string()),
        ]
    )


def _digest(block: Block) -> str:
    return sha256_bytes(canonical_json(block._asdict()).encode())


def _read_part(path: Path, offset: int, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size)
    except FileNotFoundError:
        return b""


def _header(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    """The header of a `.npy` file. numpy pads it, so it always has `HEADER_BYTES` bytes."""
    from io import BytesIO

    held = BytesIO()
    description = np.lib.format.dtype_to_descr(dtype)
    np.lib.format.write_array_header_1_0(
        held, {"descr": description, "fortran_order": False, "shape": shape}
    )
    header = held.getvalue()
    if len(header) != HEADER_BYTES:
        raise RuntimeError(f"the header of {shape} takes {len(header)} bytes, not {HEADER_BYTES}")
    return header


def _npy(array: np.ndarray) -> bytes:
    from io import BytesIO

    held = BytesIO()
    np.save(held, array, allow_pickle=False)
    return held.getvalue()
