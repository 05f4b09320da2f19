"""Data sets and tars: the images and labels that went in come out again, addressed by row."""

import io
import json
import tarfile
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from project import Project
from recording import record, settings

from saev.core.errors import UserError
from saev.images.__main__ import main
from saev.images.artifact import Images
from saev.images.sources import SOURCES
from saev.labels.join import write_labels
from saev.settings.analysis import AnalysisResolved, AnalysisSettings
from saev.settings.images import SOURCE_SETTINGS
from saev.settings.labels import LabelSettings

N = 23
NAMES = ["cat", "dog", "spider"]


def png(i: int) -> bytes:
    """An image that only row ``i`` has."""
    data = io.BytesIO()
    Image.fromarray(np.full((34, 33, 3), [10 * i % 256, i, 255 - i], np.uint8)).save(data, "PNG")
    return data.getvalue()


def listed(where: Path, **given: object) -> Images:
    out = where / "out"
    main(["--spec", json.dumps({"settings": given}), "--out", str(out), "--threads", "1"])
    return Images(out)


def label(images: Images, out: Path, column: str) -> list[str | None]:
    labels = {"x": LabelSettings(source=column)}
    write_labels(AnalysisSettings(labels=labels), AnalysisResolved(), images.path, out)
    return pq.read_table(out / "labels.parquet").column("label.x").to_pylist()


def data_set(**columns: object) -> datasets.Dataset:
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "kind": datasets.ClassLabel(names=NAMES),
            "site": datasets.Value("string"),
            "id": datasets.Value("string"),
            "year": datasets.Value("int64"),
            "box": datasets.Sequence(datasets.Value("int64")),
        }
    )
    return datasets.Dataset.from_dict(
        {
            "image": [{"bytes": png(i), "path": None} for i in range(N)],
            "kind": [-1 if i == 5 else i % 3 for i in range(N)],
            "site": [None if i == 7 else f"site {i % 2}" for i in range(N)],
            "id": [f"id-{i}" for i in range(N)],
            "year": list(range(2000, 2000 + N)),
            "box": [[i] for i in range(N)],
        }
        | columns,
        features=features,
    )


def saved(folder: Path) -> dict:
    data_set().save_to_disk(str(folder / "saved"))
    return {"saved": str(folder / "saved")}


def parquet(folder: Path) -> dict:
    # Two files and small row groups: rows go on over both.
    whole = data_set()
    (folder / "files").mkdir()
    for number, part in enumerate((range(9), range(9, N))):
        whole.select(part).to_parquet(folder / f"files/part-{number}.parquet", batch_size=4)
    return {"parquet": str(folder / "files" / "part-*.parquet")}


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def tars(folder: Path) -> dict:
    (folder / "tars").mkdir()
    for number, rows in enumerate((range(9), range(9, N))):
        with tarfile.open(folder / f"tars/shard-{number:06}.tar", "w") as tar:
            for i in rows:
                add(tar, f"id-{i:02}.png", png(i))
                if i != 7:
                    add(tar, f"id-{i:02}.site.txt", f"site {i % 2}\n".encode())
                if i != 5:
                    add(tar, f"id-{i:02}.json", json.dumps({"kind": NAMES[i % 3]}).encode())
    return {"tars": str(folder / "tars")}


@pytest.mark.parametrize("make", [saved, parquet, tars])
def test_row_i_of_a_source_is_its_ith_image_with_its_labels(tmp_path, make):
    images = listed(tmp_path, **make(tmp_path))
    entries = images.read(0, 100)
    assert [e.row for e in entries] == list(range(N))
    assert [images.source.read(e) for e in entries] == [png(i) for i in range(N)]
    assert [images.source.read(e) for e in images.entries([3, 20])] == [png(3), png(20)]
    kinds = [None if i == 5 else NAMES[i % 3] for i in range(N)]
    assert label(images, tmp_path / "a", "kind") == kinds
    sites = [None if i == 7 else f"site {i % 2}" for i in range(N)]
    assert label(images, tmp_path / "b", "site") == sites


@pytest.mark.parametrize("make", [saved, parquet, tars])
def test_a_source_is_recorded_as_its_images_in_a_folder_are(tmp_path, make):
    for i in range(N):
        path = tmp_path / f"folder/{i:02}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png(i))
    plain = listed(tmp_path / "plain", folder=str(tmp_path / "folder"))
    other = listed(tmp_path / "other", **make(tmp_path))
    vit = settings(tmp_path)
    a, b = (record(one.path, one.path / "vit-1", vit, range(1)) for one in (plain, other))
    for stream in a.streams.values():
        np.testing.assert_array_equal(a.read(stream, 0, N)[1], b.read(stream, 0, N)[1])
    assert a.take_records(np.arange(N)) == b.take_records(np.arange(N))


def test_a_column_can_name_the_images_and_must_tell_them_apart(tmp_path):
    given = saved(tmp_path)
    images = listed(tmp_path, **given, key="id")
    assert [e.key for e in images.read(0, 3)] == ["id-0", "id-1", "id-2"]
    with pytest.raises(UserError, match=r"column 'site' holds an empty entry: each image"):
        listed(tmp_path / "b", **given, key="site")
    assert not list((tmp_path / "b/out").iterdir())
    names = ["x", "y", "x", "z", "x"]
    pq.write_table(pa.table({"image": [b"-"] * 5, "name": names}), tmp_path / "names.parquet")
    with pytest.raises(UserError, match=r"column 'name' holds 'x' 3 times: each image"):
        listed(tmp_path / "c", parquet=str(tmp_path / "names.parquet"), key="name")


@pytest.mark.parametrize("make", [saved, parquet])
def test_a_missing_column_is_refused_with_those_that_there_are(tmp_path, make):
    with pytest.raises(
        UserError, match=r"no column 'picture'; its columns are: image, kind, site, id, year"
    ):
        listed(tmp_path, **make(tmp_path), image="picture")
    with pytest.raises(UserError, match=r"'year' holds .*int64.*, not images"):
        listed(tmp_path, parquet=str(parquet_of_paths(tmp_path)), image="year")


def parquet_of_paths(folder: Path) -> Path:
    (folder / "paths").mkdir(exist_ok=True)
    (folder / "paths/a.png").write_bytes(png(1))
    path = folder / "paths/table.parquet"
    table = {"image": ["a.png", "gone.png", "gone2.png"], "year": [1, 2, 3]}
    pq.write_table(pa.table(table), path)
    return path


def test_paths_that_do_not_exist_are_all_named(tmp_path):
    path = parquet_of_paths(tmp_path)
    with pytest.raises(UserError, match=r"row 1: gone.png: No such file[\s\S]*row 2: gone2.png"):
        listed(tmp_path, parquet=str(path))
    for name in ("gone.png", "gone2.png"):
        (path.parent / name).write_bytes(png(2))
    images = listed(tmp_path, parquet=str(path))
    entries = images.read(0, 3)
    assert [images.source.read(e) for e in entries] == [png(1), png(2), png(2)]
    assert [e.bytes for e in entries] == [len(png(1)), len(png(2)), len(png(2))]


def test_a_row_without_an_image_is_a_bad_image_of_its_row(tmp_path):
    whole = data_set(image=[{"bytes": png(i), "path": None} if i != 4 else None for i in range(N)])
    whole.save_to_disk(str(tmp_path / "holes"))
    images = listed(tmp_path, saved=str(tmp_path / "holes"))
    vit = settings(tmp_path)
    with pytest.raises(UserError, match="there is no image in this row"):
        record(images.path, images.path / "vit-1", vit, range(1))


def test_a_split_is_taken_by_name(tmp_path):
    whole = data_set()
    both = datasets.DatasetDict(train=whole.select(range(5)), test=whole.select(range(5, 9)))
    both.save_to_disk(str(tmp_path / "both"))
    images = listed(tmp_path, saved=str(tmp_path / "both"), split="test")
    assert [images.source.read(e) for e in images.read(0, 9)] == [png(i) for i in range(5, 9)]
    with pytest.raises(UserError, match="no split 'validation'; its splits are: train, test"):
        listed(tmp_path / "b", saved=str(tmp_path / "both"), split="validation")


def test_a_hub_that_cannot_be_reached_fails_with_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"can't read the data set nobody/nothing") as caught:
        listed(tmp_path, hub="nobody/nothing", revision="v1", n_images=3)
    assert "\n" not in str(caught.value)
    assert "save_to_disk" in str(caught.value)


def test_a_hub_data_set_is_read_by_split_and_its_number_checked(tmp_path, monkeypatch):
    # A folder stands for the hub: the same loader, without the network.
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "hub"
    folder.mkdir()
    data_set().to_parquet(folder / "test-00000-of-00001.parquet")
    given = {"hub": str(folder), "revision": "v1", "split": "test", "n_images": N}
    images = listed(tmp_path, **given)
    assert [images.source.read(e) for e in images.read(0, N)] == [png(i) for i in range(N)]
    assert label(images, tmp_path / "l", "kind")[:3] == NAMES
    with pytest.raises(UserError, match=rf"holds {N} images, but n_images says 9"):
        listed(tmp_path / "b", **given | {"n_images": 9})
    assert images.source.notes() == {}
    commit = "0123456789abcdef0123456789abcdef01234567"
    name = f"hf://datasets/owner/name@{commit}/data/test-00000-of-00001.parquet"
    images.source._images.info.download_checksums = {name: {"num_bytes": 1}}
    assert images.source.notes() == {"commit": commit}


def test_a_saved_data_set_that_is_half_there_is_refused(tmp_path):
    given = saved(tmp_path)
    (tmp_path / "saved/state.json").unlink()
    with pytest.raises(UserError, match=r"can't read the data set .*saved.*whole"):
        listed(tmp_path, **given)
    with pytest.raises(UserError, match="no folder"):
        listed(tmp_path, saved=str(tmp_path / "absent"))
    with pytest.raises(UserError, match=r"no file .*absent.parquet"):
        listed(tmp_path, parquet=str(tmp_path / "absent.parquet"))
    with pytest.raises(UserError, match=r"no \.tar file under"):
        listed(tmp_path, tars=str(tmp_path / "*.tar"))


def one_tar(folder: Path, *members: tuple[str, bytes], mode: str = "w") -> dict:
    path = folder / "one.tar"
    with tarfile.open(path, mode) as tar:
        for name, data in members:
            add(tar, name, data)
    return {"tars": str(path)}


def test_hidden_files_folders_and_samples_without_an_image_are_left_out(tmp_path):
    given = one_tar(
        tmp_path,
        ("._a.png", b"x"),
        ("a.png", png(1)),
        ("b.txt", b"no picture"),
        ("sub/c.png", png(2)),
        ("sub/c.cls", b"4"),
    )
    with tarfile.open(tmp_path / "one.tar", "a") as tar:
        info = tarfile.TarInfo("folder")
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
    images = listed(tmp_path, **given)
    assert [e.key for e in images.read(0, 9)] == ["one.tar/a.png", "one.tar/sub/c.png"]
    assert label(images, tmp_path / "l", "cls") == [None, "4"]
    notes = json.loads((images.path / "run.json").read_text())
    assert notes["samples_without_image"] == 1


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ([("a.png", b"1"), ("a.jpg", b"2")], "several images .png, jpg.*`image`"),
        ([("a.png", b"1"), ("b.png", b"2"), ("a.txt", b"3")], "aren't next to each other"),
        ([("a.dcm", b"1")], "a.dcm is DICOM"),
        ([("a.png", b"1"), ("a.json", b"{")], "a.json isn't json in UTF-8"),
        ([("a.png", b"1"), ("a.txt", b"\xff\xfe")], "a.txt isn't txt in UTF-8"),
        ([("a.txt", b"1")], "holds no image"),
    ],
)
def test_odd_members_of_a_tar_are_refused_by_name(tmp_path, members, problem):
    with pytest.raises(UserError, match=problem):
        listed(tmp_path, **one_tar(tmp_path, *members))
    assert not (tmp_path / "out/manifest.parquet").exists()


def test_the_extension_tells_which_of_several_images_is_meant(tmp_path):
    given = one_tar(tmp_path, ("a.png", png(1)), ("a.mask.png", png(2)))
    images = listed(tmp_path, **given, image="mask.png")
    assert images.source.read(images.read(0, 1)[0]) == png(2)


def test_a_link_a_cut_off_and_a_compressed_tar_are_refused(tmp_path):
    given = one_tar(tmp_path, ("a.png", png(1)))
    path = tmp_path / "one.tar"
    whole = path.read_bytes()
    with tarfile.open(path, "a") as tar:
        info = tarfile.TarInfo("b.png")
        info.type, info.linkname = tarfile.SYMTYPE, "a.png"
        tar.addfile(info)
    with pytest.raises(UserError, match=r"b\.png is a link"):
        listed(tmp_path, **given)
    path.write_bytes(whole[: 512 + 40])
    with pytest.raises(UserError, match="cut off"):
        listed(tmp_path, **given)
    path.write_bytes(b"no tar at all" * 100)
    with pytest.raises(UserError, match="damaged or isn't a tar"):
        listed(tmp_path, **given)
    one_tar(tmp_path, ("a.png", png(1)), mode="w:gz")
    with pytest.raises(UserError, match=r"compressed \(gzip\)"):
        listed(tmp_path, **given)


def test_every_source_that_settings_may_name_can_be_opened():
    assert SOURCES.keys() == SOURCE_SETTINGS.keys()


def test_a_folder_made_of_many_columns_or_none_lists_the_columns_that_it_brings(tmp_path):
    images = listed(tmp_path, **saved(tmp_path))
    with pytest.raises(UserError, match=r"a column 'box'\. Their columns: kind, site, id, year"):
        label(images, tmp_path / "l", "box")


@pytest.mark.slow
def test_tars_go_through_the_whole_workflow_and_keep_their_labels(tmp_path):
    project = Project.create(tmp_path / "project", n_images=90)
    pictures = sorted((project.folder / "pictures").rglob("*.png"))
    for number in range(2):
        with tarfile.open(project.folder / f"shard-{number}.tar", "w") as tar:
            for path in pictures[number::2]:
                add(tar, f"{path.stem}.png", path.read_bytes())
                add(tar, f"{path.stem}.cls", path.parent.name.encode())
    given = project.settings()
    given["images"]["pets"] = {"tars": "shard-*.tar"}
    given["analysis"]["named"]["labels"] = {"animal": {"source": "cls"}}
    given["runs"] = given["runs"][:1]
    project.configure(given)
    assert project.planned()["record_shard"] == 1
    project.snakemake()
    assert project.planned() == {}
    (analysis,) = (project.folder / "results").glob("pets-*/tiny-*/cls-*/named-*")
    (table,) = (project.folder / "results").glob("pets-*/labels/*/labels.parquet")
    labels = pq.read_table(table).column("label.animal").to_pylist()
    expected = [path.parent.name for number in range(2) for path in pictures[number::2]]
    assert labels == expected
    assert (analysis / "dashboard/index.html").is_file()
    # A corrected label: the analysis runs again, and nothing before it.
    for number in range(2):
        with tarfile.open(project.folder / f"shard-{number}.tar", "w") as tar:
            for path in pictures[number::2]:
                add(tar, f"{path.stem}.png", path.read_bytes())
                add(tar, f"{path.stem}.cls", path.parent.name.replace("cat", "wolf").encode())
    quick, deep = (project.python("-m", "saev.tools", "check", *a) for a in ([], ["--deep"]))
    assert (quick.returncode, deep.returncode) == (0, 1), quick.stdout + deep.stdout
    assert "nor were labels that come with them" in quick.stdout
    assert "the label animal (column cls of the images) has changed since" in deep.stdout
    planned = project.planned()
    assert planned["label_images"] == 1
    assert not {"list_images", "record_shard", "seal_activations", "train_sae"} & planned.keys()
    project.snakemake()
    (found,) = (
        pq.read_table(path).column("label.animal").to_pylist()
        for path in (project.folder / "results").glob("pets-*/labels/*/labels.parquet")
        if path != table
    )
    assert found == [name.replace("cat", "wolf") for name in expected]
    assert project.planned() == {}
    deep = project.python("-m", "saev.tools", "check", "--deep")
    assert deep.returncode == 0, deep.stdout
    assert "Your images and labels are those" in deep.stdout
    # An image replaced by one of the same size: everything runs on it, and back.
    with tarfile.open(project.folder / "shard-0.tar") as tar:
        at = tar.next().offset_data + 60
    for planned in ({"list_images": 1, "record_shard": 1, "train_sae": 1}, {}):
        with (project.folder / "shard-0.tar").open("r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1]))
        found = project.planned()
        assert planned.items() <= found.items()
        assert bool(found) == bool(planned)


def test_keys_are_compared_as_texts_where_their_hashes_agree(monkeypatch):
    from saev.images.sources import unique

    def checked(*keys):
        found = unique.Unique("the column 'id'")
        pieces = [pa.array(keys[:2]), pa.array(keys[2:])]
        for piece in pieces:
            found.add(piece)
        found.require(lambda: iter(pieces))

    for same, most in ((False, 10), (True, 10), (True, 1)):
        monkeypatch.setattr(unique, "TEXTS", most)
        if same:
            monkeypatch.setattr(unique, "hashes", lambda keys: np.full(len(keys), 7, np.uint64))
        checked("a", "b", "c", "d")
        with pytest.raises(UserError, match="column 'id' holds 'b' twice: each image needs"):
            checked("a", "b", "c", "b")
        with pytest.raises(UserError, match="an empty entry"):
            checked("a", "b", "", "d")
        with pytest.raises(UserError, match="an empty entry"):
            checked("a", "b", None, "d")
