"""Folders as people have them: links that cross, links to nothing, pipes, other files."""

import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from recording import list_images, write_pictures

from saev.core.errors import UserError
from saev.core.files import to_json
from saev.images.artifact import Images
from saev.images.sources.find import find_files
from saev.images.sources.folder import list_folder
from saev.images.sources.walk import BROKEN_LINK, CLOSED, HIDDEN, LINKED_AGAIN, NO_FILE


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 9)).save(path)


def test_folders_that_link_to_each_other_list_each_file_once(tmp_path):
    for name in "abcdefgh":
        image(tmp_path / name / "0.png")
    for one in "abcdefgh":
        for other in "abcdefgh":
            if one != other:
                (tmp_path / one / f"to-{other}").symlink_to(tmp_path / other)
    found = list_folder(tmp_path)
    assert found.keys == [f"{name}/0.png" for name in "abcdefgh"]
    assert found.ignored == {LINKED_AGAIN: 56}


def test_a_folder_elsewhere_is_listed_by_its_first_link(tmp_path):
    image(tmp_path / "far" / "sub" / "0.png")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "z").symlink_to(tmp_path / "far")
    (tmp_path / "here" / "a").symlink_to(tmp_path / "far" / "sub")
    found = list_folder(tmp_path / "here")
    assert found.keys == ["a/0.png"]
    assert found.ignored == {LINKED_AGAIN: 1}


def test_a_link_to_a_hidden_folder_is_followed(tmp_path):
    image(tmp_path / ".store" / "0.png")
    (tmp_path / "seen").symlink_to(tmp_path / ".store")
    assert list_folder(tmp_path).keys == ["seen/0.png"]


def test_broken_links_are_counted_and_skip_leaves_them_out(tmp_path):
    image(tmp_path / "a.png")
    for i in range(30):
        (tmp_path / f"b{i:02}.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(UserError, match=r"broken links \(30\)[\s\S]*b00\.png[\s\S]*to skip"):
        list_folder(tmp_path)
    found = list_folder(tmp_path, skip=True)
    assert found.keys == ["a.png"]
    assert found.ignored == {BROKEN_LINK: 30}


def test_what_is_passed_over_is_said_by_kind_and_count(tmp_path, caplog):
    caplog.set_level("INFO")
    pictures = tmp_path / "pictures"
    write_pictures(pictures, 30)
    for i in range(20):
        (pictures / f"{i}").write_bytes(b"x")
    for i in range(10):
        (pictures / f"{i}.jpg?size=large").write_bytes(b"x")
    os.mkfifo(pictures / "pipe.png")
    list_images(pictures, tmp_path / "results" / "pets-00000000")
    for text in ("20 × without extension", "10 × .jpg?…", f"1 × {NO_FILE}"):
        assert text in caplog.text


def test_an_image_that_became_a_pipe_is_a_bad_image_and_not_waited_for(tmp_path):
    pictures = tmp_path / "pictures"
    write_pictures(pictures, 2)
    listed = Images(list_images(pictures, tmp_path / "results" / "pets-00000000"))
    entry = listed.read(0, 1)[0]
    (pictures / entry.key).unlink()
    os.mkfifo(pictures / entry.key)
    with pytest.raises(OSError, match="no regular file"):
        listed.source.read(entry)


def test_links_to_images_list_each_file_once(tmp_path):
    far, here = tmp_path / "far", tmp_path / "here"
    image(far / "0.png")
    image(far / "1.png")
    image(here / "a" / "own.png")
    image(here / ".store" / "hidden.png")
    (here / "z").symlink_to(far)
    for number, target in enumerate(
        [here / "a/own.png", far / "0.png", here / ".store/hidden.png", here / ".store/hidden.png"]
    ):
        (here / f"link{number}.png").symlink_to(target)
    found = list_folder(here)
    assert found.keys == ["a/own.png", "link2.png", "z/0.png", "z/1.png"]
    assert found.ignored == {LINKED_AGAIN: 3, HIDDEN: 1}


def test_a_link_with_an_extension_to_a_file_without_one_is_an_image(tmp_path):
    image(tmp_path / "0.png")
    (tmp_path / "0.png").rename(tmp_path / "plain")
    (tmp_path / "x.png").symlink_to("plain")
    assert list_folder(tmp_path).keys == ["x.png"]


def test_a_link_in_a_circle_is_a_broken_link(tmp_path):
    image(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("c.png")
    (tmp_path / "c.png").symlink_to("b.png")
    with pytest.raises(UserError, match=r"broken links \(2\)"):
        list_folder(tmp_path)
    assert list_folder(tmp_path, skip=True).ignored == {BROKEN_LINK: 2}


def test_folders_that_may_not_be_opened_are_named_and_skip_leaves_them_out(tmp_path, monkeypatch):
    for name in ("a", "b", "c/d"):
        image(tmp_path / name / "0.png")
    scandir = os.scandir

    def guarded(folder):
        if str(folder).endswith(("/b", "/d")):
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(UserError, match=r"may not open \(2\):[\s\S]*/b\n[\s\S]*c/d\n[\s\S]*skip"):
        list_folder(tmp_path)
    found = list_folder(tmp_path, skip=True)
    assert found.keys == ["a/0.png"]
    assert found.ignored == {CLOSED: 2}


def test_empty_image_files_are_refused_at_once_and_skip_keeps_their_rows(tmp_path):
    image(tmp_path / "a.png")
    for name in ("b.png", "c.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "notes").touch()
    with pytest.raises(UserError, match=r"empty image files \(2\):[\s\S]*b\.png[\s\S]*c\.jpg"):
        list_folder(tmp_path)
    assert list_folder(tmp_path, skip=True).keys == ["a.png", "b.png", "c.jpg"]


def test_odd_names_are_listed_read_and_shown_in_one_line(tmp_path):
    names = ["a [1].png", "b\n.png", "c%20#?&'\".png", "e\u0301.png", "\xe9.png", "X.png", "x.png"]
    for name in names:
        image(tmp_path / name)
    (tmp_path / "._x.png").touch()
    (tmp_path / "Thumbs.db").touch()
    found = list_folder(tmp_path)
    assert found.keys == sorted(names)
    assert found.ignored == {HIDDEN: 1, ".db": 1}
    (tmp_path / "b\n.png").write_bytes(b"")
    with pytest.raises(UserError) as caught:
        list_folder(tmp_path)
    assert "b\\n.png" in str(caught.value)


def test_a_start_of_the_workflow_says_what_is_passed_over_every_time(tmp_path, monkeypatch, caplog):
    from saev.workflow.plan import resolve

    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO")
    write_pictures(tmp_path / "images", 12)
    for i in range(20):
        (tmp_path / "images" / f"{i}").write_bytes(b"x")
    given = {
        "images": {"pets": {"folder": "images"}},
        "vit": {"t": {"model": "ViT-B-32", "weights": "openai", "layers": [0], "tokens": ["cls"]}},
        "sae": {
            "s": {
                **{"architecture": "topk", "layer": 0, "tokens": "cls", "n_latents": 64, "k": 4},
                **{"epochs": 1, "batch_size": 4, "lr": 0.001, "normalisation": "none"},
            }
        },
        "analysis": {"a": {}},
        "runs": [{"images": "pets", "vit": "t", "sae": "s", "analysis": "a"}],
    }
    for _ in range(2):
        caplog.clear()
        plan = resolve(given)
        assert "images: passed over: 20 × without extension" in caplog.text
        (directory,) = plan.names("images")
        assert plan.component("images", directory)["notes"] == {"ignored": {"": 20}}


@pytest.mark.parametrize("path", ["/etc/passwd", "../secret.png", "a/../../secret.png"])
def test_a_parquet_file_names_no_image_outside_of_its_folder(tmp_path, path):
    image(tmp_path / "data" / "a" / "in.png")
    image(tmp_path / "secret.png")
    cells = [{"bytes": None, "path": name} for name in ("a/in.png", "a/../a/in.png", path)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(cells, kind)}), tmp_path / "data" / "t.parquet")
    from saev.core.spec import parsed
    from saev.images.sources import open_source
    from saev.settings.images import AnyImagesSettings

    source = open_source(parsed(AnyImagesSettings, {"parquet": str(tmp_path / "data")}))
    with pytest.raises(UserError, match=r"row 2: .*outside of the table's folder"):
        list(source.tables())


@pytest.mark.parametrize(("source", "suffix"), [("tars", ".tar"), ("parquet", ".parquet")])
def test_of_a_folder_of_files_each_is_found_once_and_the_rest_is_counted(tmp_path, source, suffix):
    names = [f"a{suffix}", f"b{suffix.upper()}", f"c{suffix}.gz", "README.md", "old.tgz"]
    for name in (*names, f".cache/d{suffix}", f"elsewhere/e{suffix}"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).touch()
    (tmp_path / "data" / "elsewhere").rename(tmp_path / "elsewhere")
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / f"again{suffix}").symlink_to(tmp_path / "data" / f"a{suffix}")
    found = find_files(source, str(tmp_path / "data"), suffix)
    assert found.names == [f"a{suffix}", f"b{suffix.upper()}", f"linked/e{suffix}"]
    counted = {".gz": 1, ".md": 1, ".tgz": 1, "hidden files or folders": 1}
    assert found.ignored == counted | {"links to folders or files that are listed already": 1}


def test_a_folder_without_files_of_the_kind_says_what_it_holds(tmp_path):
    (tmp_path / "a.tgz").touch()
    (tmp_path / "b.tgz").touch()
    with pytest.raises(UserError, match=r"no \.tar file under .*; it holds 2 × \.tgz"):
        find_files("tars", str(tmp_path), ".tar")


@pytest.mark.parametrize("pattern", ["", "*.tar", "**/*.tar"])
def test_a_broken_link_to_a_tar_is_never_passed_over(tmp_path, pattern):
    (tmp_path / "a.tar").touch()
    (tmp_path / "b.tar").symlink_to("not fetched")
    with pytest.raises(UserError, match=r"holds broken links:\n  - .*b.tar\nFetch"):
        find_files("tars", str(tmp_path / pattern), ".tar")


def test_a_file_of_another_kind_may_have_a_name_that_is_not_utf8(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / os.fsdecode(b"x.\xff")).touch()
    (tmp_path / os.fsdecode(b"y\xff.txt")).touch()
    found = list_folder(tmp_path).ignored
    assert found == {".\\xff": 1, ".txt": 1}
    to_json(found)


def test_images_in_formats_that_cannot_be_read_are_refused_or_counted(tmp_path):
    write_pictures(tmp_path, 3)
    for name in ("a.heic", "b.HEIC", "c.nef"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UserError, match=r"HEIC: 2, such as a\.heic[\s\S]*on_bad_image of these"):
        list_folder(tmp_path)
    listing = list_folder(tmp_path, skip=True)
    assert len(listing.keys) == 3
    assert listing.ignored == {"HEIC": 2, "camera raw": 1}
