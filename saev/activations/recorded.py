"""What recordings say about the files that they read: sealed ones, and those that aren't."""

import json
from pathlib import Path

from saev.activations.artifact import shard_json, shard_records
from saev.core.files import read_json
from saev.core.meta import require_unaltered
from saev.core.state import STATE


def recorded_digests(images: Path, rows: list[int]) -> dict[int, str]:
    """SHA-256 of image files as some tower read them.

    Args:
        images: directory of the images, `results/{images}`.
        rows: which images.

    Returns:
        SHA-256 by row. Leaves out images that weren't recorded, or whose file couldn't be read.

    Raises:
        UserError: what a recording says about its images was altered.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    found: dict[int, str] = {}
    wanted = set(rows)
    for path in images.glob(f"*/{STATE}/*/block-*.json"):
        for record in json.loads(path.read_bytes())["records"]:
            if record["row"] in wanted and record["sha256"] is not None:
                found[record["row"]] = record["sha256"]
    folder = f"{Path(shard_records(0)).parent}/"
    for sidecar in sorted(images.glob(f"*/{Path(shard_json(0)).with_name('*.json')}")):
        if len(found) == len(wanted):
            break
        recording = sidecar.parent.parent
        entries = [e for e in read_json(sidecar)["files"] if e["name"].startswith(folder)]
        # What was removed is recorded again.
        there = [entry for entry in entries if (recording / entry["name"]).exists()]
        require_unaltered(recording, there)
        for entry in there:
            chosen = pc.field("row").isin(rows) & pc.field("sha256").is_valid()
            path = recording / entry["name"]
            table = pq.read_table(path, columns=["row", "sha256"], filters=chosen)
            found.update(zip(*table.to_pydict().values(), strict=True))
    return found
