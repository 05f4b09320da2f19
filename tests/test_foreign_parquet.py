"""Parquet files as people have them: pixels in lists, base64, other columns."""

import base64
import datetime
import decimal
import io
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from saev.core.errors import UserError
from saev.core.spec import parsed
from saev.images.sources import open_source
from saev.images.sources.source import Entry
from saev.labels.source_labels import as_labels
from saev.settings.config import Config
from saev.settings.images import AnyImagesSettings
from saev.workflow.components import Resolver


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


def images(where):
    """The gray value of each image, as a job reads them."""
    source = open_source(parsed(AnyImagesSettings, {"parquet": str(where)}))
    listed = [row for table in source.tables() for row in table.to_pylist()]
    entries = [Entry(i, row["key"], row["bytes"]) for i, row in enumerate(listed)]
    return [Image.open(io.BytesIO(source.read(entry))).getpixel((0, 0))[0] for entry in entries]


def test_a_file_that_was_replaced_by_another_of_the_same_time_is_read_anew(tmp_path):
    path, other = tmp_path / "a.parquet", tmp_path / "other"
    write(path)
    os.utime(path, (1e9, 1e9))
    assert images(path) == [1, 2]
    pq.write_table(pa.table({"image": [png(9), png(8), png(7)]}), other)
    os.utime(other, (1e9, 1e9))
    other.replace(path)
    assert images(path) == [9, 8, 7]


BYTES, PATH, NO_PATH = ("bytes", pa.binary()), ("path", pa.string()), ("path", pa.null())


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([BYTES, NO_PATH], [BYTES, PATH]),
        ([BYTES, PATH], [PATH, BYTES]),
        ([BYTES], [BYTES, PATH]),
        ([BYTES, PATH], [BYTES, PATH, ("width", pa.int64())]),
    ],
)
def test_files_may_differ_in_how_they_write_bytes_and_paths(tmp_path, first, second):
    for i, fields in enumerate((first, second)):
        value = {"bytes": png(i), "path": None, "width": 8}
        row = {name: value[name] for name, _ in fields}
        column = pa.array([row], pa.struct(fields))
        pq.write_table(pa.table({"image": column}), tmp_path / f"{i}.parquet")
    assert images(tmp_path) == [0, 1]


def test_files_without_a_row_are_passed_over(tmp_path):
    empty = pa.table({"image": pa.array([], pa.binary()), "kind": pa.array([], pa.string())})
    pq.write_table(empty, tmp_path / "0.parquet")
    write(tmp_path / "1.parquet", kind=["a", "b"])
    pq.write_table(empty, tmp_path / "2.parquet")
    assert images(tmp_path) == [1, 2]
    assert [row["source.kind"] for row in rows(tmp_path)] == ["a", "b"]


def test_nan_is_no_label_where_files_differ_in_the_type(tmp_path):
    write(tmp_path / "0.parquet", kind=[1, 2])
    write(tmp_path / "1.parquet", kind=[1.0, float("nan")])
    assert [row["source.kind"] for row in rows(tmp_path)] == ["1", "2", "1", None]


def classes(path, numbers, *names):
    import datasets

    features = datasets.Features(image=datasets.Image(), kind=datasets.ClassLabel(names=[*names]))
    column = pa.array([{"bytes": png(1), "path": None} for _ in numbers])
    table = pa.table({"image": column, "kind": numbers})
    described = features.arrow_schema.metadata if names else None
    pq.write_table(table.replace_schema_metadata(described), path)


def test_a_file_without_the_names_of_its_classes_takes_those_of_the_others(tmp_path):
    classes(tmp_path / "0.parquet", [0, 1], "cat", "dog")
    classes(tmp_path / "1.parquet", [1, -1])
    assert [row["source.kind"] for row in rows(tmp_path)] == ["cat", "dog", "dog", None]
    classes(tmp_path / "2.parquet", [1, 0], "dog", "cat")
    with pytest.raises(UserError, match=r"1\.parquet: the column 'kind' holds numbers of classes"):
        rows(tmp_path)


def test_a_class_without_a_name_is_said(tmp_path):
    classes(tmp_path / "0.parquet", [0, 7], "cat", "dog")
    with pytest.raises(UserError, match="holds the class 7, but has names for 0 to 1 only"):
        rows(tmp_path)


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        pa.list_(pa.binary()),
        pa.list_(pa.string()),
    ],
)
def test_lists_of_images_are_said_to_be_lists_and_not_numbers(tmp_path, kind):
    one = {"bytes": png(), "path": None} if pa.types.is_struct(kind.value_type) else None
    pq.write_table(pa.table({"image": pa.array([[one]] * 3, kind)}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"holds lists \(.*not one image in each row"):
        rows(tmp_path / "a.parquet")


@pytest.mark.parametrize("value", [pa.binary(), pa.large_binary(), pa.string()])
def test_images_that_are_encoded_by_a_dictionary_are_read(tmp_path, value):
    (tmp_path / "1.png").write_bytes(png(1))
    (tmp_path / "2.png").write_bytes(png(2))
    stored = ["1.png", "2.png", "1.png"] if value == pa.string() else [png(1), png(2), png(1)]
    column = pa.array(stored, value).dictionary_encode()
    pq.write_table(pa.table({"image": column}), tmp_path / "a.parquet")
    kept = pq.read_schema(tmp_path / "a.parquet").field("image").type
    assert pa.types.is_dictionary(kept)
    source = open_source(parsed(AnyImagesSettings, {"parquet": str(tmp_path / "a.parquet")}))
    assert len(source.files().name) == 1
    assert sum(len(table) for table in source.tables()) == 3
    entries = [Entry(i, str(i), None, None, None) for i in range(3)]
    assert [source.read(entry) for entry in entries] == [png(1), png(2), png(1)]


@pytest.mark.parametrize(
    ("stored", "kind"),
    [
        ([png(1), png(2)], pa.binary_view()),
        (["1.png", "2.png"], pa.string_view()),
        (
            [{"bytes": png(1), "path": None}, {"bytes": png(2), "path": None}],
            pa.struct([("bytes", pa.binary_view()), ("path", pa.string_view())]),
        ),
    ],
)
def test_images_in_views_as_other_libraries_write_them_are_read(tmp_path, stored, kind):
    (tmp_path / "1.png").write_bytes(png(1))
    (tmp_path / "2.png").write_bytes(png(2))
    pq.write_table(pa.table({"image": pa.array(stored, kind)}), tmp_path / "a.parquet")
    assert images(tmp_path) == [1, 2]


@pytest.mark.parametrize(
    ("value", "one", "other"),
    [
        (datetime.datetime(2024, 1, 1), pa.timestamp("us"), pa.timestamp("ns")),
        (datetime.timedelta(1), pa.duration("s"), pa.duration("us")),
        (datetime.time(1), pa.time32("s"), pa.time64("us")),
        (decimal.Decimal("1.5"), pa.decimal128(3, 1), pa.decimal128(4, 2)),
    ],
)
def test_equal_labels_stay_equal_where_files_keep_other_digits(tmp_path, value, one, other):
    write(tmp_path / "0.parquet", kind=pa.array([value] * 2, one))
    write(tmp_path / "1.parquet", kind=pa.array([value] * 2, other))
    source = open_source(parsed(AnyImagesSettings, {"parquet": str(tmp_path)}))
    (column,) = {str(table.schema.field("source.kind").type) for table in source.tables()}
    assert column == str(other)
    labels = [as_labels(t.column("source.kind").combine_chunks()) for t in source.tables()]
    assert len({text for piece in labels for text in piece.to_pylist()}) == 1


def test_times_of_other_zones_become_texts(tmp_path):
    for i, zone in enumerate(("UTC", None)):
        write(tmp_path / f"{i}.parquet", kind=pa.array([0, 1], pa.timestamp("s", zone)))
    assert rows(tmp_path)[0]["source.kind"] == "1970-01-01 00:00:00.000Z"


def test_the_splits_of_a_data_set_from_the_hub_are_said(tmp_path, said, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        write(tmp_path / f"set/{name}.parquet")

    def start(pattern):
        settings = parsed(AnyImagesSettings, {"parquet": pattern})
        Resolver(Config.model_construct(images={"p": settings}), "results")._images("p")

    start("set")
    assert "set holds several splits, and all are taken: test (1 files), train (2 files)" in said()
    before = said().count("several splits")
    start("set/train-*.parquet")
    assert said().count("several splits") == before
