"""Tables of labels as people have them: of other encodings and separators, with columns
misspelt."""

import unicodedata

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from project import draw_pictures
from recording import list_images

from saev.core.errors import UserError
from saev.images.artifact import Images
from saev.labels.join import write_labels
from saev.labels.label_doubts import MOST_KINDS, Kinds
from saev.labels.table_files import require_columns
from saev.settings.analysis import AnalysisResolved, AnalysisSettings
from saev.workflow.plan import resolve


@pytest.fixture
def keys(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return draw_pictures(tmp_path / "pictures", 12)


def settings(**label):
    return {
        "images": {"pets": {"folder": "pictures"}},
        "vit": {"t": {"model": "ViT-B-32", "weights": "openai", "layers": [0], "tokens": ["cls"]}},
        "sae": {
            "s": {
                **{"architecture": "topk", "layer": 0, "tokens": "cls", "n_latents": 64, "k": 4},
                **{"epochs": 1, "batch_size": 4, "lr": 0.001, "normalisation": "none"},
            }
        },
        "analysis": {"a": {"labels": {"kind": label}}},
        "runs": [{"images": "pets", "vit": "t", "sae": "s", "analysis": "a"}],
    }


def labels(tmp_path, **label):
    given = AnalysisSettings(labels={"kind": label})
    listed = list_images(tmp_path / "pictures", tmp_path / "results" / "pets-00000000")
    write_labels(given, AnalysisResolved(), listed, tmp_path / "out")
    names = pq.read_table(tmp_path / "out" / "labels.parquet").column("label.kind").to_pylist()
    return dict(zip([e.key for e in Images(listed).read(0, 100)], names, strict=True))


def test_labels_that_group_no_images_are_said_and_others_are_not(tmp_path, keys, caplog):
    caplog.set_level("INFO")
    write_csv = (tmp_path / "l.csv").write_text
    for told, made in [
        ("no two of 12 are equal", lambda i: f"2024-05-01 12:00:{i:02}.000001"),
        ("all 12 are 'x', so they tell no images apart", lambda i: "x"),
        (None, lambda i: f"{i // 2}"),
        (None, lambda i: "x" if i == 3 else ""),
    ]:
        caplog.clear()
        write_csv("".join(["path,kind\n", *(f"{key},{made(i)}\n" for i, key in enumerate(keys))]))
        labels(tmp_path, table="l.csv")
        said = [text for text in caplog.messages if text.startswith("warning: label kind:")]
        assert len(said) == (told is not None)
        assert told is None or told in said[0]


def test_so_many_different_labels_are_counted_as_memory_allows():
    kinds = Kinds()
    for start in range(0, 4 * MOST_KINDS, 1000):
        kinds.add(pa.array([f"{i}" for i in range(start, start + 1000)]))
    assert len(kinds.texts) == kinds.n == MOST_KINDS + 1000
    (said,) = kinds.doubts()
    assert "no two of 11,000 are equal" in said


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cat", "Cat"),
        ("caf\u00e9", "cafe\u0301"),
        ("big cat", "big\u00a0cat"),
        ("big cat", "big  cat"),
        ("cat", "cat\u200b"),
        ("1", "1.0"),
    ],
)
def test_labels_that_look_alike_are_said(one, other):
    kinds = Kinds()
    kinds.add(pa.array([one, other, one, other, "dog", "dog", "1.5", "1.5", "10", "10"]))
    (said,) = kinds.doubts()
    assert said.startswith(" and ".join(map(ascii, sorted((one, other)))))
    assert "count as different labels. If they mean the same" in said


def test_groups_of_labels_that_look_alike_are_counted():
    kinds = Kinds()
    kinds.add(pa.array(["cat", "Cat", "CAT", "dog", "Dog", "x", "x"]))
    assert "'CAT' and 'Cat' count as different labels, and so do 1 more" in kinds.doubts()[0]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_tables_from_spreadsheets_are_read(tmp_path, keys, delimiter, mark, end):
    rows = [delimiter.join(("path", "kind", "note"))]
    rows += [delimiter.join((key, f'"a {i % 2}"', '"1,5"')) for i, key in enumerate(keys)]
    (tmp_path / "l.csv").write_bytes((mark + end.join(rows) + end).encode())
    resolve(settings(table="l.csv"))
    found = labels(tmp_path, table="l.csv")
    assert found == {key: f"a {i % 2}" for i, key in enumerate(keys)}


@pytest.mark.parametrize(
    ("label", "problem"),
    [
        (
            {"table": "l.csv", "column": "specie"},
            r"no column 'specie'; its columns are: path, species",
        ),
        ({"table": "l.csv", "key": "file", "column": "species"}, "no column 'file'"),
        ({"table": "l.csv"}, "no column 'kind'"),
        ({"table": "l.parquet", "column": "specie"}, r"its columns are: path, species"),
        ({"source": "species"}, r"come without a column 'species'. Their columns: none"),
        (
            {"table": "latin.csv", "column": "Espèce"},
            "must be text in UTF-8, but holds the byte 0xe8",
        ),
        ({"table": "empty.csv", "column": "x"}, "is empty"),
        ({"table": "broken.parquet", "column": "x"}, "can't be read"),
    ],
)
def test_what_is_wrong_with_a_label_is_found_before_anything_runs(tmp_path, keys, label, problem):
    (tmp_path / "l.csv").write_text(f"path,species\n{keys[0]},cat\n")
    pq.write_table(pa.table({"path": keys, "species": keys}), tmp_path / "l.parquet")
    (tmp_path / "latin.csv").write_bytes("path,Espèce\n".encode("cp1252"))
    (tmp_path / "empty.csv").touch()
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=problem) as caught:
        resolve(settings(**label))
    assert "analysis.a.labels.kind" in str(caught.value)


def test_a_byte_that_is_no_utf8_is_found_beyond_the_first_line(tmp_path):
    text = "path,kind\n" + "a.png,cat\n" * 200_000
    (tmp_path / "l.csv").write_bytes(text.encode() + "b.png,Müsli\n".encode("latin-1"))
    with pytest.raises(UserError, match=f"at {len(text) + 7:,}"):
        require_columns("t", tmp_path / "l.csv", "path", "kind")


@pytest.mark.parametrize("data", ["path,kind\n".encode("utf-16-le"), b"PK\3\4\x14\0\6\0"])
def test_a_table_that_is_no_text_is_refused_before_anything_runs(tmp_path, keys, data):
    (tmp_path / "l.csv").write_bytes(data)
    with pytest.raises(UserError, match=r"l\.csv isn't a table in text"):
        resolve(settings(table="l.csv"))


def test_keys_are_joined_whatever_way_an_accent_is_written(tmp_path, keys):
    from PIL import Image

    for form, name in (("NFD", "é"), ("NFC", "ü")):
        path = tmp_path / "pictures" / unicodedata.normalize(form, f"{name}.png")
        Image.new("RGB", (9, 9)).save(path)
    rows = [unicodedata.normalize("NFC", "é.png,e"), unicodedata.normalize("NFD", "ü.png,u")]
    (tmp_path / "l.csv").write_text("\n".join(["path,kind", *rows]) + "\n")
    found = labels(tmp_path, table="l.csv")
    assert {v for v in found.values() if v} == {"e", "u"}


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("path;kind;;", "{};a;;"),
        ("path;kind", "{};a;;"),
        ("path;note;kind;;", '{};"x;\ny";a'),
        ("path;kind;note", "{};a"),
        ("kind;path", '"a";"{}"'),
        ("path;kind;n;n", "{};a;1;2"),
    ],
)
def test_rows_of_spreadsheets_with_more_or_fewer_empty_fields_are_read(
    tmp_path, keys, header, rows
):
    lines = ["\ufeff" + header, *(rows.format(key) for key in keys), ";;"]
    lines[2] += ";" if "note" not in header else ""
    (tmp_path / "l.csv").write_bytes("\r\n".join(lines).encode())
    resolve(settings(table="l.csv"))
    assert set(labels(tmp_path, table="l.csv").values()) == {"a"}


def test_a_label_that_is_missing_at_the_end_of_a_row_is_none(tmp_path, keys):
    rows = [f"{key},x,a" if i % 2 else key for i, key in enumerate(keys)]
    (tmp_path / "l.csv").write_text("\n".join(["path,note,kind", *rows]))
    found = labels(tmp_path, table="l.csv")
    assert [found[key] for key in keys] == [None, "a"] * 6


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("path,kind\n{0},a\n{0},b\n", r"several rows:\n  - cat/0000.png \(2 times\)"),
        ("path,kind\n{0},a\n,b\n", "1 rows have no 'path'"),
        ("path,kind\nx/{0},a\n", "no key in this table matches an image"),
        ("path,kind\n{0},a,b\n", "line 2, has 3 fields"),
        ('path,kind\n{0},"a\n', "can't be read"),
        ("path,kind\n", "no key in this table matches an image"),
    ],
)
def test_what_is_wrong_with_rows_is_found_before_anything_runs(tmp_path, keys, text, problem):
    (tmp_path / "l.csv").write_text(text.format(keys[0]))
    with pytest.raises(UserError, match=problem) as caught:
        resolve(settings(table="l.csv"))
    assert str(caught.value).startswith("analysis.a.labels.kind.table: l.csv")


def test_a_table_of_rows_fits_images_that_are_named_by_their_row(tmp_path, keys):
    (tmp_path / "l.csv").write_text("path,kind\n0,a\n")
    with pytest.raises(UserError, match=r"starts with \['0'\], the images with \['cat/0000.png'"):
        resolve(settings(table="l.csv"))


def test_a_table_that_fitted_is_not_read_again(tmp_path, keys, monkeypatch):
    (tmp_path / "l.csv").write_text(f"path,kind\n{keys[0]},a\n")
    resolve(settings(table="l.csv"))
    monkeypatch.setattr("saev.labels.join._load", None)
    resolve(settings(table="l.csv"))


def test_spaces_around_a_label_make_no_other_label(tmp_path, keys):
    spaced = ["cat", "cat ", " cat", "cat\t", "cat\u00a0", '" cat "']
    rows = [f"{key},{spaced[i % 6]}" for i, key in enumerate(keys)]
    (tmp_path / "l.csv").write_text("\n".join(["path,kind", *rows]))
    assert set(labels(tmp_path, table="l.csv").values()) == {"cat"}


def test_a_column_without_a_value_is_refused_before_anything_runs(tmp_path, keys):
    (tmp_path / "l.csv").write_text("\n".join(["path,note,kind", *(f"{key},a" for key in keys)]))
    with pytest.raises(UserError, match=r"l\.csv: the column 'kind' is empty in all rows"):
        resolve(settings(table="l.csv"))


def test_a_label_that_looks_like_none_is_said(tmp_path, keys, caplog):
    caplog.set_level("INFO", "saev")
    rows = [f"{key},{('NaN', 'cat', 'NA', '')[i % 4]}" for i, key in enumerate(keys)]
    (tmp_path / "l.csv").write_text("\n".join(["path,kind", *rows]))
    assert {"NaN", "NA", "cat", None} == set(labels(tmp_path, table="l.csv").values())
    assert "label kind: 'NaN' is the label of 3 images. If it stands for none" in caplog.text
    assert "'NA' is the label of 3 images" in caplog.text
    assert "'cat' is the label" not in caplog.text


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("ragged", ["", ";"])
@pytest.mark.parametrize("said", ["sep=;", "SEP=;"])
def test_a_first_line_that_states_the_separator_is_no_header(
    tmp_path, keys, mark, end, ragged, said
):
    rows = [f"{key};a,{i % 2}{ragged if i else ''}" for i, key in enumerate(keys)]
    text = mark + end.join([said, "path;kind", *rows]) + end
    (tmp_path / "labels.csv").write_bytes(text.encode())
    found = labels(tmp_path, table="labels.csv")
    assert found == {key: f"a,{i % 2}" for i, key in enumerate(keys)}
    assert resolve(settings(table="labels.csv")).runs


def test_the_line_of_a_wrong_row_counts_the_one_that_states_the_separator(tmp_path, keys):
    (tmp_path / "labels.csv").write_text(f"sep=;\npath;kind\n{keys[0]};a;b\n")
    with pytest.raises(UserError, match="line 3, has 3 fields"):
        resolve(settings(table="labels.csv"))


def test_a_table_that_holds_only_its_separator_is_empty(tmp_path, keys):
    (tmp_path / "labels.csv").write_text("sep=;\n")
    with pytest.raises(UserError, match="is empty"):
        resolve(settings(table="labels.csv"))


def test_rows_of_separators_alone_are_passed_over(tmp_path, keys):
    rows = ["path;kind;note", *(f"{key};a;b" for key in keys), ";;", ";;"]
    (tmp_path / "l.csv").write_text("\n".join(rows) + "\n")
    resolve(settings(table="l.csv"))
    assert labels(tmp_path, table="l.csv") == dict.fromkeys(keys, "a")


def test_a_label_of_folders_is_refused_where_no_image_lies_in_one(tmp_path, keys):
    flat = tmp_path / "flat"
    flat.mkdir()
    for i, key in enumerate(keys):
        (tmp_path / "pictures" / key).rename(flat / f"{i}.png")
    given = settings(folder=True)
    given["images"]["pets"]["folder"] = "flat"
    with pytest.raises(UserError, match=r"analysis\.a\.labels\.kind\.folder: no image lies in a"):
        resolve(given)


def test_a_quotation_without_an_end_is_doubted(tmp_path, keys, said):
    rows = [f'{keys[0]},"x', *(f"{key},y" for key in keys[1:3]), f'{keys[3]},"', f"{keys[4]},z"]
    (tmp_path / "l.csv").write_text("\n".join(["path,kind", *rows]) + "\n")
    labels(tmp_path, table="l.csv")
    assert "warning: label kind: 1 images have labels of several lines" in said()
