"""Listing parquet files: what lies outside of them, equal keys, and how little memory it takes."""

import random
import tracemalloc
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from project import python

from saev.core.errors import UserError
from saev.core.spec import parsed
from saev.images.sources import open_source
from saev.images.sources.source import Entry
from saev.settings.images import AnyImagesSettings


def test_hashes_of_texts_depend_on_the_texts_alone(monkeypatch):
    from saev.images.sources import unique

    rng = random.Random(0)
    texts = ["".join(rng.choices("ab0é日/", k=rng.randint(1, 30))) for _ in range(3000)]
    texts += ["x" * 3000, "y" * 3000]
    keys = pa.array(texts)
    found = dict(zip(texts, unique.hashes(keys).tolist(), strict=True))
    assert len(set(found.values())) == len(set(texts))
    for start, stop in ((0, 1), (7, 2000), (1999, len(texts))):
        part = keys.slice(start, stop - start)
        assert unique.hashes(part).tolist() == [found[text] for text in texts[start:stop]]
    monkeypatch.setattr(unique, "BYTES", 1000)
    assert unique.hashes(keys[:3000]).tolist() == [found[text] for text in texts[:3000]]
    first, second, third = unique.hashes(pa.array([texts[-2], texts[-1], texts[-2]])).tolist()
    assert first == third != second


def test_comparing_four_times_as_many_keys_takes_no_more_memory():
    from saev.images.sources.unique import Unique

    def peak(n_pieces):
        tracemalloc.start()
        found = Unique("the column 'id'")
        for piece in range(n_pieces):
            numbers = np.arange(piece * 65_536, (piece + 1) * 65_536)
            found.add(pa.array(numbers).cast(pa.string()))
        found.require(lambda: iter(()))
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return held

    peak(1)
    assert peak(32) < 1.2 * peak(8)


class Listed(NamedTuple):
    """Parquet files, and the images that lie outside of them."""

    given: dict[str, Any]
    n_rows: int
    outside: list[tuple[int, str]]


def inside_and_outside(folder: Path) -> Listed:
    """Files that hold some images, and name others, in every way that they can be written."""
    rng = random.Random(0)
    whole = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    values = [
        *({"bytes": b"x", "path": None}, {"bytes": b"", "path": "kept.png"}, None),
        *({"bytes": None, "path": "0.png"}, {"bytes": None, "path": None}),
    ]
    mixed = [rng.choice(values) for _ in range(40)]
    no_bytes = pa.struct([("bytes", pa.null()), ("path", pa.large_string())])
    path_only, bytes_only = pa.struct([whole.field("path")]), pa.struct([whole.field("bytes")])
    columns = [
        *(pa.array(mixed, whole), pa.array(mixed[:30] + [values[0]] * 12, whole)),
        *(pa.array([values[3]] * 3, no_bytes), pa.array([{"path": "0.png"}, None], path_only)),
        *(pa.array([{"bytes": b"x"}, None], bytes_only), pa.array([], whole)),
    ]
    folder.mkdir()
    (folder / "0.png").write_bytes(b"12345")
    for number, column in enumerate(columns):
        table, name = pa.table({"image": column}), folder / f"{number}.parquet"
        pq.write_table(table, name, row_group_size=7, write_statistics=number != 2)
    rows = [row for column in columns for row in column.to_pylist()]
    outside = [
        (i, row["path"])
        for i, row in enumerate(rows)
        if row and row.get("bytes") is None and row.get("path") is not None
    ]
    return Listed({"parquet": str(folder)}, len(rows), outside)


def test_images_outside_of_parquet_files_are_found_without_making_a_copy_of_all(
    tmp_path, monkeypatch
):
    given, n_rows, outside = inside_and_outside(tmp_path / "set")
    assert 10 < len(outside) < n_rows - 10
    source = open_source(parsed(AnyImagesSettings, given))
    as_read = [source.read(Entry(row, "", None)) for row, _ in outside]
    assert as_read == [b"12345"] * len(outside)
    monkeypatch.setattr(type(source), "_load", lambda self: pytest.fail("makes a copy"))
    again = open_source(parsed(AnyImagesSettings, given))
    for size in (3, 7, n_rows):
        pieces = [again._outside(start, start + size) for start in range(0, n_rows, size)]
        assert [found for piece in pieces for found in piece] == outside
    sizes = [size for table in again.tables() for size in table.column("bytes").to_pylist()]
    rows = dict(outside)
    assert sizes == [5 if row in rows else None for row in range(n_rows)]
    (tmp_path / "set/0.png").unlink()
    with pytest.raises(UserError, match=rf"row {outside[0][0]}: 0\.png: No such file"):
        list(again.tables())


def test_parquet_files_are_listed_without_the_libraries_that_read_images(tmp_path):
    pq.write_table(pa.table({"image": [b"-"] * 3, "id": ["a", "b", "c"]}), tmp_path / "a.parquet")
    code = f"""
import sys
from saev.core.spec import parsed
from saev.images.artifact import write_manifest
from saev.images.sources import open_source
from saev.settings.images import AnyImagesSettings
source = open_source(parsed(AnyImagesSettings, {{"parquet": {str(tmp_path)!r}, "key": "id"}}))
write_manifest({str(tmp_path / "manifest")!r}, source.fingerprint(), source)
print(sorted({{"datasets", "torch"}} & sys.modules.keys()))
"""
    assert python(code, tmp_path) == "[]\n"


def test_damaged_rows_of_a_parquet_file_are_said_in_one_line(tmp_path):
    path = tmp_path / "a.parquet"
    names = [f"name {i}" for i in range(500)]
    pq.write_table(pa.table({"image": [b"-"] * 500, "id": names}), path, compression="zstd")
    held = bytearray(path.read_bytes())
    at = pq.read_metadata(path).row_group(0).column(1).data_page_offset
    held[at - 200 : at + 200] = bytes(400)
    path.write_bytes(held)
    source = open_source(parsed(AnyImagesSettings, {"parquet": str(path), "key": "id"}))
    with pytest.raises(UserError, match=r"a\.parquet can't be read: .* It is damaged"):
        list(source.tables())
