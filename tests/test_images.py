"""Listing a folder of images."""

import hashlib
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from recording import list_images, write_pictures

from saev.core.errors import UserError
from saev.images.__main__ import main
from saev.images.artifact import Images, manifest_summary, write_manifest
from saev.images.sources import open_source
from saev.images.sources.folder import list_folder
from saev.images.sources.walk import HIDDEN
from saev.settings.images import FolderSettings


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * len(name))


def test_the_listing_is_sorted_by_code_point_over_whole_paths(tmp_path):
    touch(tmp_path, "b.png", "a/z.jpg", "a-b/c.PNG", "B.png", "é.webp", "a.tif")
    listing = list_folder(tmp_path)
    assert listing.keys == ["B.png", "a-b/c.PNG", "a.tif", "a/z.jpg", "b.png", "é.webp"]
    assert listing.sizes == [len(key) for key in listing.keys]


def test_the_fingerprint_is_the_sha256_of_names_and_sizes(tmp_path):
    touch(tmp_path, "b.png", "a/z.jpg")
    expected = hashlib.sha256(b"a/z.jpg\0" + b"7\nb.png\0" + b"5\n").hexdigest()
    assert list_folder(tmp_path).fingerprint == expected
    touch(tmp_path, "c.png")
    assert list_folder(tmp_path).fingerprint != expected


def test_hidden_and_other_files_are_passed_over_and_counted(tmp_path):
    touch(tmp_path, "a.png", ".b.png", ".git/c.png", "labels.csv", "more.csv", "readme")
    listing = list_folder(tmp_path)
    assert listing.keys == ["a.png"]
    assert listing.ignored == {".csv": 2, HIDDEN: 2, "": 1}


def test_a_link_to_a_folder_above_does_not_go_round(tmp_path):
    touch(tmp_path, "a/b.png")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "linked.png").symlink_to(tmp_path / "a" / "b.png")
    assert list_folder(tmp_path).keys == ["a/b.png"]


@pytest.mark.parametrize(
    ("name", "format_name"),
    [("scan.dcm", "DICOM"), ("x.NEF", "camera raw"), ("y.heic", "HEIC"), ("z.svg", "SVG")],
)
def test_a_format_that_cannot_be_read_is_refused_by_its_name(tmp_path, name, format_name):
    touch(tmp_path, "a.png", name)
    with pytest.raises(UserError, match=rf"{format_name}: 1, such as {name}[\s\S]*Convert"):
        list_folder(tmp_path)


def test_empty_missing_and_imageless_folders_are_refused(tmp_path):
    with pytest.raises(UserError, match="it is empty"):
        list_folder(tmp_path)
    with pytest.raises(UserError, match="doesn't exist"):
        list_folder(tmp_path / "absent")
    touch(tmp_path, "a.txt")
    with pytest.raises(UserError, match=r"1 × \.txt"):
        list_folder(tmp_path)
    with pytest.raises(UserError, match="is a file"):
        list_folder(tmp_path / "a.txt")


def test_a_link_to_nothing_is_refused(tmp_path):
    touch(tmp_path, "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(UserError, match="broken link"):
        list_folder(tmp_path)


def test_a_name_that_is_not_utf8_is_refused(tmp_path):
    touch(tmp_path, "a.png")
    with open(bytes(tmp_path) + b"/\xff.png", "wb"):  # noqa: PTH123
        pass
    with pytest.raises(UserError, match="aren't UTF-8"):
        list_folder(tmp_path)


def test_the_manifest_gives_back_rows_and_any_range_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr("saev.images.sources.folder.GROUP_ROWS", 3)
    monkeypatch.setattr("saev.images.artifact.GROUP_ROWS", 4)
    write_pictures(tmp_path / "pics", 11)
    out = list_images(tmp_path / "pics", tmp_path / "p-1")
    listing = list_folder(tmp_path / "pics")
    reader = Images(out)
    assert pq.read_metadata(out / "manifest.parquet").num_row_groups == 3
    for start in range(12):
        for stop in range(13):
            found = reader.read(start, stop)
            assert [e.row for e in found] == list(range(start, min(stop, 11)))
            assert [e.key for e in found] == listing.keys[start:stop]
            assert [e.bytes for e in found] == listing.sizes[start:stop]


def test_the_listing_of_the_plan_is_used_and_checked_by_its_fingerprint(tmp_path):
    write_pictures(tmp_path / "pics", 3)
    listing = list_folder(tmp_path / "pics")
    source = open_source(FolderSettings(folder=str(tmp_path / "pics")))
    write_manifest(tmp_path / "kept.parquet", source.fingerprint(), source)
    assert manifest_summary(tmp_path / "kept.parquet").fingerprint == listing.fingerprint
    touch(tmp_path / "pics", "late.png")
    kept = ["--listing", str(tmp_path / "kept.parquet"), "--out", str(tmp_path / "p-1")]
    spec = '{"settings": {"folder": "%s"}, "resolved": {"fingerprint": "%s"}}'
    main(["--spec", spec % (tmp_path / "pics", listing.fingerprint), *kept])
    assert Images(tmp_path / "p-1").n_images == 3
    with pytest.raises(UserError, match="start the workflow again"):
        main(["--spec", spec % (tmp_path / "pics", "0" * 64), *kept])


def test_a_stated_number_of_images_is_checked(tmp_path):
    write_pictures(tmp_path / "pics", 3)
    list_images(tmp_path / "pics", tmp_path / "p-1", n_images=3, version="1")
    with pytest.raises(UserError, match="holds 3 images, but n_images says 4"):
        list_images(tmp_path / "pics", tmp_path / "p-2", n_images=4, version="1")
    assert list((tmp_path / "p-2").iterdir()) == []


def test_importing_the_listing_loads_neither_torch_nor_pillow_nor_pyarrow():
    code = (
        "import sys, saev.images.sources, saev.settings.images; "
        "print([m for m in ('torch', 'PIL', 'pyarrow', 'numpy', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_folder_that_holds_the_results_is_refused(tmp_path, monkeypatch):
    touch(tmp_path, "a.png", "results/x/b.png")
    monkeypatch.chdir(tmp_path)
    for folder in (".", str(tmp_path), "results"):
        with pytest.raises(UserError, match="a separate folder"):
            open_source(FolderSettings(folder=folder)).fingerprint()
