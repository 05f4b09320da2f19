"""Tars as people have them: damaged, cut, joined, of other encodings, with labels that are none."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from saev.core.errors import UserError
from saev.core.spec import parsed
from saev.images.artifact import write_manifest
from saev.images.sources import open_source
from saev.images.sources.source import passed_over
from saev.labels.join import label_column, pieces
from saev.settings.images import AnyImagesSettings
from saev.settings.labels import LabelSettings


def png(seed):
    image = Image.fromarray(np.full((8, 8, 3), seed % 256, np.uint8))
    image.save(held := io.BytesIO(), "png")
    return held.getvalue()


def add(tar, name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
    return info


@pytest.fixture
def tar(tmp_path):
    """A tar of 40 samples, each an image and a text."""
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w") as tar:
        for i in range(40):
            add(tar, f"{i:05}.png", png(i))
            add(tar, f"{i:05}.sci.txt", f"species {i % 3}".encode())
    return path


def offset_of(path, name):
    with tarfile.open(path) as tar:
        return tar.getmember(name).offset


def rows(where):
    source = open_source(parsed(AnyImagesSettings, {"tars": str(where)}))
    return [row for table in source.tables() for row in table.to_pylist()]


def test_a_whole_tar_is_listed(tar):
    assert len(rows(tar)) == 40


@pytest.mark.parametrize("number", [1, 20, 39])
@pytest.mark.parametrize("kind", ["png", "sci.txt"])
def test_a_damaged_header_is_named_with_the_sample_before_it(tar, number, kind):
    at = offset_of(tar, f"{number:05}.{kind}")
    data = bytearray(tar.read_bytes())
    data[at + 10 : at + 20] = b"\xff" * 10
    tar.write_bytes(data)
    with pytest.raises(UserError, match=rf"s\.tar is damaged: at byte {at:,}"):
        rows(tar)


@pytest.mark.parametrize("more", [0, 1, 300, 511])
def test_a_tar_that_is_cut_at_or_in_a_header_is_named(tar, more):
    at = offset_of(tar, "00020.png")
    tar.write_bytes(tar.read_bytes()[: at + more])
    with pytest.raises(UserError, match=r"s\.tar is (cut off|damaged)|can't be read"):
        rows(tar)


def test_a_tar_with_one_closing_block_is_cut_off(tar):
    data = tar.read_bytes().rstrip(b"\0")
    data += bytes(-len(data) % 512)
    tar.write_bytes(data + bytes(512))
    with pytest.raises(UserError, match="cut off"):
        rows(tar)
    tar.write_bytes(data + bytes(1024))
    assert len(rows(tar)) == 40


def test_joined_tars_are_refused(tar):
    tar.write_bytes(tar.read_bytes() * 2)
    with pytest.raises(UserError, match="goes on after its end"):
        rows(tar)


def test_a_name_that_is_not_utf8_is_one_line_with_tar_and_file(tmp_path):
    path = tmp_path / "latin.tar"
    with tarfile.open(path, "w", encoding="latin-1", format=tarfile.GNU_FORMAT) as tar:
        add(tar, "müsli.png", png(1))
    with pytest.raises(UserError, match=r"latin\.tar: the name 'm\\udcfcsli\.png' isn't in UTF-8"):
        rows(path)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "null", '""', '"  "', "[]", "{}"])
def test_a_value_that_says_nothing_is_no_label(tmp_path, text):
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w") as tar:
        for name, value in (("a", '"cat"'), ("b", text)):
            add(tar, f"{name}.png", png(1))
            add(tar, f"{name}.json", f'{{"species": {value}}}'.encode())
        add(tar, "c.png", png(1))
        add(tar, "c.species.txt", b" \n")
    assert [row["source.species"] for row in rows(path)] == ["cat", None, None]


def test_names_with_dots_are_said_to_be_cut_at_the_first(tmp_path):
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w") as tar:
        for i in range(2):
            add(tar, f"plot_0.{i}_cam.png", png(i))
    with pytest.raises(UserError, match="cut at the first dot"):
        rows(path)


@pytest.mark.parametrize(
    "pattern", ["data [2024]/s.tar", "data [2024]/*.tar", "data [2024]", "*/s.tar"]
)
def test_what_exists_is_no_pattern(tar, tmp_path, monkeypatch, pattern):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data [2024]").mkdir()
    tar.rename(tmp_path / "data [2024]" / "s.tar")
    assert len(rows(pattern)) == 40


@pytest.mark.parametrize("text", [b"[" * 50_000, b'{"a": "\\ud800"}'])
def test_json_that_cannot_be_read_is_named(tmp_path, text):
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w") as tar:
        add(tar, "a.png", png(1))
        add(tar, "a.json", text)
    with pytest.raises(UserError, match=r"a\.json isn't json in UTF-8"):
        rows(path)


def test_a_tar_without_images_of_the_wanted_ending_says_how_names_are_cut(tmp_path):
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w") as tar:
        add(tar, "plot_0.0_cam.png", png(1))
    source = open_source(parsed(AnyImagesSettings, {"tars": str(path), "image": "png"}))
    with pytest.raises(UserError, match=r"no image that ends in \.png.*cut at the first dot"):
        list(source.tables())


def test_a_tar_whose_own_name_is_not_utf8_is_named(tar):
    tar.rename(tar.parent / b"\xe9.tar".decode(errors="surrogateescape"))
    with pytest.raises(UserError, match=r"aren't UTF-8; rename them:\n.*udce9"):
        rows(tar.parent)


def packed(path, *members):
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            add(tar, name, data)
    return path


@pytest.mark.parametrize(
    ("name", "data", "label"),
    [
        ("a.cls", b"\xef\xbb\xbfcat\r\n", "cat"),
        ("a.json", b'\xef\xbb\xbf{"cls": "cat"}', "cat"),
        ("a.json", b'{"cls": " cat "}', "cat"),
        ("a.json", b'{"cls": 1.0}', "1"),
        ("a.json", b'{"cls": true}', "true"),
        ("a.json", b'{"cls": 1%s}' % (b"0" * 400), "1" + "0" * 400),
    ],
)
def test_a_label_is_the_same_whatever_program_wrote_it(tmp_path, name, data, label):
    tar = packed(tmp_path / "s.tar", ("a.png", png(1)), (name, data))
    assert [row["source.cls"] for row in rows(tar)] == [label]


@pytest.mark.parametrize(
    "texts",
    [
        [("a.cls", b"cat"), ("a.json", b'{"cls": "dog"}')],
        [("a.x.json", b'{"cls": "cat"}'), ("a.y.json", b'{"cls": "dog"}')],
        [("a.cls", b"cat"), ("a.cls", b"dog")],
    ],
)
def test_what_files_of_a_sample_contradict_each_other_about_is_no_label(tmp_path, texts, caplog):
    caplog.set_level("INFO", "saev")
    more = [
        ("b.png", png(2)),
        ("b.cls", b"cat"),
        ("b.note.txt", b"x"),
        ("b.json", b'{"cls":"cat"}'),
    ]
    tar = packed(tmp_path / "s.tar", ("a.png", png(1)), *texts, *more)
    found = rows(tar)
    assert [(row.get("source.cls"), row["source.note"]) for row in found] == [
        (None, None),
        (None, "x"),
    ]
    assert "'cls' can't be a label" in caplog.text
    assert "says 'cat', and" in caplog.text


@pytest.mark.parametrize("start", ["BZ", "BZh", "PK", "\x28\xb5"])
def test_a_tar_whose_first_file_is_named_like_a_compressed_file_is_read(tmp_path, start):
    assert len(rows(packed(tmp_path / "s.tar", (f"{start}1.png", png(1))))) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"a": 1, "a": 2, "b": "x"}', "1.json says '1', and 1.json says '2'"),
        (b'{"a": 1, "a": 1.0, "b": "x", "b": "x"}', None),
        (b'{"a": "", "a": 1, "c": {"b": 1, "b": 2}, "b": "x"}', None),
    ],
)
def test_a_name_that_stands_twice_in_a_json_with_two_values_is_no_label(
    tmp_path, text, said, caplog
):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        add(tar, "1.png", png(1))
        add(tar, "1.json", text)
    caplog.set_level("INFO")
    (row,) = rows(path)
    assert row["source.b"] == "x"
    assert row.get("source.a") == (None if said else "1")
    assert bool(said) == any("'a' can't be a label" in m and said in m for m in caplog.messages)


def test_hidden_files_in_tars_are_counted_and_said(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in ("./._1.png", "./1.png", ".DS_Store", "set/._2.png", "set/2.png"):
            add(tar, name, png(1))
    source = open_source(parsed(AnyImagesSettings, {"tars": str(tmp_path)}))
    assert sum(len(table) for table in source.tables()) == 2
    assert source.notes() == {"samples_without_image": 0, "ignored": {"hidden files in tars": 3}}
    assert passed_over(source.notes()) == "3 × hidden files in tars"


def test_the_label_of_folders_in_a_tar_is_the_folder_and_not_the_tar(tmp_path):
    (tmp_path / "sub").mkdir()
    members = [(f"./{kind}/{i}.png", png(i)) for kind in ("fox", "hare") for i in range(2)]
    packed(tmp_path / "sub" / "a.tar", *members, ("top.png", png(9)))
    listed = tmp_path / "listing.parquet"
    source = open_source(parsed(AnyImagesSettings, {"tars": str(tmp_path / "sub")}))
    write_manifest(listed, source.fingerprint(), source)
    found = label_column("kind", LabelSettings(folder=True), listed)
    (piece,) = pieces(listed)
    by_key = dict(zip(piece.column("key").to_pylist(), found(piece).to_pylist(), strict=True))
    assert sorted(map(str, by_key.values())) == ["None", "fox", "fox", "hare", "hare"]
    assert by_key["a.tar/top.png"] is None
