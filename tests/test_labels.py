"""Labels joined to images, and what is said when they don't fit."""

import hashlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from analysed import write_images

from saev.core.errors import UserError
from saev.core.spec import parsed
from saev.labels.join import write_labels
from saev.settings.analysis import AnalysisResolved, AnalysisSettings

KEYS = ["cats/a.png", "cats/b.png", "dogs/small/c.png", "d.png"]


@pytest.fixture
def images(tmp_path):
    return write_images(
        tmp_path / "images", KEYS, species=["x", None, "", "y"], year=[1, 2, None, 4]
    )


def labels(images, **sources):
    out = images.parent / "out"
    settings = parsed(AnalysisSettings, {"labels": sources})
    write_labels(settings, AnalysisResolved(), images, out)
    return pq.read_table(out / "labels.parquet").to_pydict()


def table(images, text, name="t.csv"):
    path = images.parent / name
    path.write_text(text)
    return str(path)


def test_the_first_folder_level_is_a_label(images):
    found = labels(images, kind={"folder": True})
    assert found == {"row": [0, 1, 2, 3], "label.kind": ["cats", "cats", "dogs", None]}


def test_without_labels_there_are_rows_alone(images):
    assert labels(images) == {"row": [0, 1, 2, 3]}


def test_a_csv_is_joined_by_key_in_any_order_with_several_columns(images):
    path = table(images, "path,kind,site\nd.png,D,007\nother.png,O,1\ncats/a.png,A,\n")
    found = labels(images, kind={"table": path}, place={"table": path, "column": "site"})
    assert found["label.kind"] == ["A", None, None, "D"]
    assert found["label.place"] == [None, None, None, "007"]


def test_a_parquet_of_any_types_is_joined(images):
    path = images.parent / "t.parquet"
    columns = {"file": KEYS[:3], "kind": pa.array(["u", "v", "u"]).dictionary_encode()}
    pq.write_table(pa.table({**columns, "score": [1.5, float("nan"), None]}), path)
    source = {"table": str(path), "key": "file"}
    found = labels(images, kind=source, score=source)
    assert found["label.kind"] == ["u", "v", "u", None]
    assert found["label.score"] == ["1.5", None, None, None]


def test_a_column_of_the_source_is_a_label(images):
    found = labels(images, a={"source": "species"}, b={"source": "year"})
    assert found["label.a"] == ["x", None, None, "y"]
    assert found["label.b"] == ["1", "2", None, "4"]


def test_keys_that_match_no_image_are_counted_and_said(images, said):
    labels(images, kind={"table": table(images, "path,kind\nd.png,D\nx.png,X\ny.png,Y\n")})
    text = said()
    assert "2 of 3 keys match no image" in text
    assert "label kind: 1 of 4 images have one" in text


@pytest.mark.parametrize(
    ("text", "source", "said"),
    [
        ("path,kind\n", {"table": "none.csv"}, "there is no file none.csv"),
        ("path,sort\nd.png,D\n", {}, "no column 'kind'; its columns are: path, sort"),
        ("file,kind\nd.png,D\n", {}, "no column 'path'; its columns are: file, kind"),
        ("path,kind\nd.png,D\nd.png,E\n", {}, r"d\.png \(2 times\)"),
        (
            "path,kind\nx/d.png,D\n",
            {},
            r"starts with \['x/d.png'\], the images with \['cats/a.png'",
        ),
        ("path,kind\nd.png,D\n,E\n", {}, "1 rows have no 'path'"),
        ("path,kind\nd.png,D\n", {"sha256": "0" * 64}, "was changed: its SHA-256"),
        ("path,kind\nd.png,D,E\n", {}, "t.csv, line 2, has 3 fields, but the first line has 2"),
        ("", {}, "is empty"),
        ("path,kind,kind\nd.png,D,E\n", {}, "several columns called 'kind'"),
    ],
)
def test_a_table_that_doesnt_fit_is_refused_with_what_is_wrong(images, text, source, said):
    path = table(images, text)
    with pytest.raises(UserError, match=said):
        labels(images, kind={"table": path} | source)
    assert not (images.parent / "out" / "labels.parquet").exists()


def test_the_right_sha256_is_accepted(images):
    text = "path,kind\nd.png,D\n"
    digest = hashlib.sha256(text.encode()).hexdigest()
    found = labels(images, kind={"table": table(images, text), "sha256": digest})
    assert found["label.kind"] == [None, None, None, "D"]


def test_a_source_column_that_isnt_there_is_refused_with_those_that_are(images):
    with pytest.raises(UserError, match=r"a column 'place'\. Their columns: species, year"):
        labels(images, kind={"source": "place"})


@pytest.mark.parametrize("values", [[["D"]], [{"a": 1}], [b"\xff\xfe"]])
def test_a_column_that_is_no_text_is_refused(images, values):
    path = images.parent / "odd.parquet"
    pq.write_table(pa.table({"path": ["d.png"], "kind": values}), path)
    with pytest.raises(UserError, match="must be text or numbers"):
        labels(images, kind={"table": str(path)})
