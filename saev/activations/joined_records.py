"""Joins the records of shards to `images.parquet`, and reads from it which files were recorded."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from saev.activations.artifact import RECORDS, shard_json, shard_records, shard_rows
from saev.activations.shards import records_schema
from saev.core.errors import UserError, listed
from saev.core.files import atomic_path


def join_records(out: Path, made: Path, sidecars: list[dict[str, Any]], n_images: int) -> int:
    """Join the records of the shards, one row group per shard. Return the number of skipped images.

    Checks that every row of the listing occurs once, with its activations or a reason.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    n_skipped = 0
    reasons: list[str] = []
    with (
        atomic_path(made / RECORDS) as temporary,
        pq.ParquetWriter(temporary, records_schema()) as writer,
    ):
        for number, sidecar in enumerate(sidecars):
            table = pq.read_table(out / shard_records(number), schema=records_schema())
            rows = np.load(out / shard_rows(number), allow_pickle=False)
            listed_rows = table.column("row").to_numpy()
            present = table.column("skipped").is_null().to_numpy(zero_copy_only=False)
            if not (
                np.array_equal(listed_rows, np.arange(sidecar["start"], sidecar["stop"]))
                and np.array_equal(listed_rows[present], rows)
                and len(rows) == sidecar["rows"]
            ):
                raise UserError(
                    f"{out / shard_records(number)} and {out / shard_rows(number)} disagree: "
                    f"remove {out / shard_json(number)} and run again"
                )
            n_skipped += int((~present).sum())
            if n_skipped and len(reasons) < 3:
                bad = table.filter(pc.is_valid(table.column("skipped"))).slice(0, 3).to_pylist()
                reasons += [f"row {record['row']}: {record['skipped']}" for record in bad]
            writer.write_table(table, row_group_size=max(1, table.num_rows))
    if n_skipped == n_images:
        raise UserError(
            listed(reasons, f"none of the {n_images:,} images could be read. The first reasons:", 3)
        )
    return n_skipped


def recorded_files(made: Path, n_shards: int) -> Iterator[tuple[np.ndarray, list[str]]]:
    """Rows and SHA-256 of the images that were recorded, a shard at a time."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with pq.ParquetFile(made / RECORDS) as file:
        for shard in range(n_shards):
            table = file.read_row_group(shard, columns=["row", "sha256", "skipped"])
            table = table.filter(pc.is_null(table.column("skipped")))
            yield table.column("row").to_numpy(), table.column("sha256").to_pylist()
