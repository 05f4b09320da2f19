"""Parquet files as people have them: pixels in lists, base64, other columns."""

import base64
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from saev.core.errors import UserError
from saev.core.spec import parsed
from saev.images.sources import open_source
from saev.settings.images import AnyImagesSettings


def rows(where, **given):
    source = open_source(parsed(AnyImagesSettings, {"parquet": str(where), **given}))
    return [row for table in source.tables() for row in table.to_pylist()]


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.list_(pa.uint8())),
        pa.large_list(pa.list_(pa.uint8())),
        pa.list_(pa.list_(pa.float32())),
        pa.list_(pa.uint8()),
    ],
)
def test_pixels_in_lists_are_refused_and_never_recorded_dark(tmp_path, kind):
    pixels = np.full((8, 8), 200, np.uint8).tolist()
    value = pixels if pa.types.is_nested(kind.value_type) else pixels[0]
    pq.write_table(pa.table({"image": pa.array([value] * 3, kind)}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="holds lists of numbers, not images"):
        rows(tmp_path / "a.parquet")


def test_base64_is_named_and_not_printed(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3)).astype(np.uint8)
    Image.fromarray(noise).save(held := io.BytesIO(), "png")
    text = base64.b64encode(held.getvalue()).decode()
    pq.write_table(pa.table({"image": [text] * 5}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="looks like base64: store the bytes") as caught:
        rows(tmp_path / "a.parquet")
    assert len(str(caught.value)) < 2000


def png(i=0):
    Image.fromarray(np.full((8, 8, 3), i, np.uint8)).save(held := io.BytesIO(), "png")
    return held.getvalue()


def write(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": [png(1), png(2)], **columns}), path)


def test_only_the_needed_columns_are_read_and_files_may_differ_in_the_others(tmp_path):
    pairs = pa.array([[("a", 1)], [("b", 2)]], pa.map_(pa.string(), pa.int64()))
    write(tmp_path / "a.parquet", species=["cat", "dog"], extra=pairs)
    write(tmp_path / "b.parquet", species=["owl", None], note=["x", "y"], extra=[[1.0], [2.0]])
    write(tmp_path / "c.parquet", species=pa.array([None, None], pa.null()))
    found = rows(tmp_path)
    assert [row["source.species"] for row in found] == ["cat", "dog", "owl", None, None, None]
    assert [row["source.note"] for row in found] == [None, None, "x", "y", None, None]
    assert [row["file"] for row in found] == [f"{name}.parquet" for name in "aabbcc"]
    assert "source.extra" not in found[0]


def test_labels_of_several_types_become_text(tmp_path):
    write(tmp_path / "a.parquet", n=[1, 2], kind=pa.array(["x", "y"]).dictionary_encode())
    write(tmp_path / "b.parquet", n=["three", "4"], kind=["z", ""])
    found = rows(tmp_path)
    assert [row["source.n"] for row in found] == ["1", "2", "three", "4"]
    assert [row["source.kind"] for row in found] == ["x", "y", "z", ""]


def test_files_that_differ_in_a_needed_column_are_named_with_the_difference(tmp_path):
    write(tmp_path / "a.parquet", id=["1", "2"])
    write(tmp_path / "b.parquet", id=["3", "4"], image=["x.png", "y.png"])
    with pytest.raises(UserError, match=r"'image' holds bytes in a\.parquet, paths in b\.parquet"):
        rows(tmp_path)
    write(tmp_path / "b.parquet", name=["3", "4"])
    with pytest.raises(
        UserError, match=r"b\.parquet has no column 'id'; its columns are: image, na"
    ):
        rows(tmp_path, key="id")
    (tmp_path / "b.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"b\.parquet can't be read"):
        rows(tmp_path)


def test_keys_of_folders_are_columns(tmp_path):
    for name, n in (("cat", 1), ("wild%20boar", 2), ("__HIVE_DEFAULT_PARTITION__", 3)):
        write(tmp_path / "data" / f"species={name}" / f"n={n}" / "0.parquet", id=[f"{n}a", f"{n}b"])
    expected = {
        "1a": "cat",
        "1b": "cat",
        "2a": "wild boar",
        "2b": "wild boar",
        "3a": None,
        "3b": None,
    }
    for pattern in ("data", "data/species=*/n=*/*.parquet", "data/**/*.parquet"):
        found = rows(tmp_path / pattern, key="id")
        assert {row["key"]: row["source.species"] for row in found} == expected
        assert {row["source.n"] for row in found} == {"1", "2", "3"}


def test_an_image_of_a_hub_data_set_lies_where_it_was_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "hub").mkdir()
    pq.write_table(pa.table({"image": ["/etc/passwd", "../x.png"]}), tmp_path / "hub/train.parquet")
    given = {"hub": str(tmp_path / "hub"), "revision": "v1", "n_images": 2}
    source = open_source(parsed(AnyImagesSettings, given))
    with pytest.raises(UserError, match=r"row 0: /etc/passwd: it lies outside[\s\S]*row 1: \.\./x"):
        list(source.tables())


@pytest.mark.parametrize("path", ["", ".", "a\0b.png"])
def test_a_path_that_is_none_is_named_by_its_row(tmp_path, path):
    pq.write_table(pa.table({"image": ["0.png", path]}), tmp_path / "a.parquet")
    (tmp_path / "0.png").write_bytes(png())
    with pytest.raises(UserError, match="row 1"):
        rows(tmp_path / "a.parquet")


def test_long_values_are_shown_in_part_in_every_message():
    text = str(UserError(f"the key {'A' * 300_000} twice\n" + "a " * 100_000 + "end"))
    assert len(text) < 4_000
    assert "300,000 characters" in text
    assert text.endswith("end")
    plain = "x" * 299 + " " + "y" * 100
    assert str(UserError(plain)) == plain
