"""What a start of the workflow notices of files that were written again under the same name."""

import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from saev.core.errors import UserError
from saev.core.files import file_entry, sha256_bytes, write_json
from saev.images.__main__ import main
from saev.images.artifact import Images, require_vouched
from saev.labels import source_labels
from saev.workflow.plan import resolve

N = 12


def image(i: int) -> bytes:
    """A BMP: its size doesn't depend on its pixels."""
    Image.fromarray(np.full((9, 8, 3), i, np.uint8)).save(held := io.BytesIO(), "BMP")
    return held.getvalue()


def folder(pixels, labels) -> dict:
    Path("data").mkdir(exist_ok=True)
    for i, value in enumerate(pixels):
        path = Path("data", f"{i:02}.bmp")
        if not path.exists() or path.read_bytes() != image(value):
            path.write_bytes(image(value))
    return {"folder": "data"}


def tars(pixels, labels) -> dict:
    Path("data").mkdir(exist_ok=True)
    for number in range(2):
        held = io.BytesIO()
        with tarfile.open(fileobj=held, mode="w") as tar:
            for i in range(number, N, 2):
                for ending, data in (("bmp", image(pixels[i])), ("sci.txt", labels[i].encode())):
                    info = tarfile.TarInfo(f"{i:02}.{ending}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        path = Path("data", f"{number}.tar")
        if not path.exists() or path.read_bytes() != held.getvalue():
            path.write_bytes(held.getvalue())
    return {"tars": "data"}


def parquet(pixels, labels) -> dict:
    Path("data").mkdir(exist_ok=True)
    for number in range(2):
        rows = range(number, N, 2)
        columns = {"image": [image(pixels[i]) for i in rows], "sci": [labels[i] for i in rows]}
        path = Path("data", f"{number}.parquet")
        if not path.exists() or pq.read_table(path).to_pydict() != columns:
            pq.write_table(pa.table(columns), path)
    return {"parquet": "data"}


def paths(pixels, labels) -> dict:
    folder(pixels, labels)
    columns = {"image": [f"{i:02}.bmp" for i in range(N)], "sci": labels}
    path = Path("data", "t.parquet")
    if not path.exists() or pq.read_table(path).to_pydict() != columns:
        pq.write_table(pa.table(columns), path)
    return {"parquet": "data"}


def saved(pixels, labels) -> dict:
    import datasets

    columns = {"image": [image(p) for p in pixels], "sci": labels}
    told = json.dumps([pixels, labels])
    if not Path("told").exists() or Path("told").read_text() != told:
        table = datasets.Dataset.from_dict(columns)
        table.save_to_disk("data", num_shards=2)
        Path("told").write_text(told)
    return {"saved": "data"}


PIXELS, LABELS = list(range(10, 10 + N)), ["cat", "dog", "owl"] * 4
ALL = [folder, tars, parquet, paths, saved]
LABELLED = [tars, parquet, paths, saved]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def settings(source: dict) -> dict:
    labels = {} if "folder" in source else {"kind": {"source": "sci"}}
    return {
        "images": {"pets": source},
        "vit": {"t": {"model": "ViT-B-32", "weights": "random", "layers": [0], "tokens": ["cls"]}},
        "sae": {
            "s": {
                **{"architecture": "topk", "layer": 0, "tokens": "cls", "n_latents": 64, "k": 4},
                **{"epochs": 1, "batch_size": 4, "lr": 0.001, "normalisation": "none"},
            }
        },
        "analysis": {"a": {"labels": labels}},
        "runs": [{"images": "pets", "vit": "t", "sae": "s", "analysis": "a"}],
    }


def start(source: dict) -> tuple[str, str]:
    """The directories of images and analysis that a start of the workflow finds."""
    (run,) = resolve(settings(source)).runs
    return run["images"], run["analysis"]


def record(directory: str, rows: range = range(N)) -> None:
    """List the images, and write what a recording says about them."""
    out = Path("results", directory)
    known = resolve(settings(SOURCES["now"])).component("images", directory)
    given = {**known["loose"], **known["settings"]}
    spec = json.dumps({"settings": given, "resolved": known["resolved"]})
    listing = f"results/.plans/{directory}.parquet"
    main(["--spec", spec, "--listing", listing, "--out", str(out), "--threads", "1"])
    images = Images(out)
    digests = [sha256_bytes(images.source.read(entry)) for entry in images.read(0, N)]
    records = out / "t-00000000" / "records"
    for folder in (records, records.parent / "shards"):
        folder.mkdir(parents=True)
    table = pa.table({"row": list(rows), "sha256": [digests[row] for row in rows]})
    path = records / "shard-00000.parquet"
    pq.write_table(table, path)
    entry = file_entry(path, "records/shard-00000.parquet")
    write_json(records.parent / "shards" / "00000.json", {"files": [entry]})


SOURCES: dict = {}


def made(make, pixels=PIXELS, labels=LABELS) -> tuple[str, str]:
    SOURCES["now"] = make(pixels, labels)
    return start(SOURCES["now"])


@pytest.mark.parametrize("make", ALL)
def test_images_replaced_at_the_same_size_get_a_directory_of_their_own_and_back(make):
    first = made(make)
    record(first[0])
    assert made(make) == first
    inverted = [255 - PIXELS[0], *PIXELS[1:]]
    second = made(make, inverted)
    assert second[0] != first[0]
    assert made(make, inverted) == second
    record(second[0])
    assert made(make) == first
    assert made(make, inverted) == second


@pytest.mark.parametrize("make", ALL)
def test_files_that_are_written_again_with_the_same_images_change_nothing(make):
    first = made(make)
    record(first[0])
    for path in Path("data").iterdir():
        path.touch()
    assert made(make) == first
    for path in Path("data").iterdir():
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
    assert made(make) == first
    assert len(list(Path("results/.plans").glob("seen.*"))) == 2


@pytest.mark.parametrize("make", LABELLED)
@pytest.mark.parametrize("label", ["fox", "wild boar"])
def test_a_corrected_label_changes_the_analysis_alone_and_back(make, label):
    first = made(make)
    record(first[0])
    corrected = [LABELS[0], label, *LABELS[2:]]
    second = made(make, labels=corrected)
    assert second[0] == first[0]
    assert second[1] != first[1]
    assert made(make, labels=corrected) == second
    assert made(make) == first


@pytest.mark.parametrize("make", LABELLED)
def test_the_analysis_gets_the_corrected_labels(make):
    from saev.core.spec import parsed
    from saev.labels.join import write_labels
    from saev.settings.analysis import AnalysisResolved

    record(made(make)[0])
    corrected = ["fox", *LABELS[1:]]
    images, analysis = made(make, labels=corrected)
    plan = resolve(settings(SOURCES["now"]))
    resolved = parsed(AnalysisResolved, plan.component("analysis", analysis)["resolved"])
    write_labels(plan.settings("analysis", analysis), resolved, Path("results", images), "out")
    found = pq.read_table("out/labels.parquet").column("label.kind").to_pylist()
    in_order = [*corrected[::2], *corrected[1::2]] if make in (tars, parquet) else corrected
    assert found == in_order


@pytest.mark.parametrize("damage", [lambda data: data[:99], lambda data: data[:4] + data[9:]])
def test_corrected_labels_that_were_damaged_are_kept_anew_by_the_next_start(damage):
    record(made(parquet)[0])
    corrected = ["fox", *LABELS[1:]]
    made(parquet, labels=corrected)
    (path,) = Path("results/.plans").glob("labels.*.parquet")
    whole, sha256 = path.read_bytes(), path.stem.partition(".")[2]
    path.write_bytes(damage(whole))
    with pytest.raises(UserError, match="missing or was altered: start the workflow again"):
        source_labels.corrected("labels.kind.source", sha256, path.parent)
    made(parquet, labels=corrected)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("make", ALL)
def test_images_replaced_and_labels_corrected_at_once_are_both_noticed(make):
    first = made(make)
    record(first[0])
    second = made(make, [1, *PIXELS[1:]], ["fox", *LABELS[1:]])
    assert second[0] != first[0]
    record(second[0])
    third = made(make, PIXELS, ["fox", *LABELS[1:]])
    assert third[0] == first[0]
    assert (third[1] == first[1]) == (make is folder)


@pytest.mark.parametrize("make", ALL)
def test_a_recording_that_was_stopped_says_what_it_read(make):
    first = made(make)
    record(first[0], range(6, N))
    assert made(make, [*PIXELS[:-1], 200])[0] != first[0]


@pytest.mark.parametrize("make", ALL)
def test_without_the_memory_what_was_recorded_is_compared(make):
    first = made(make)
    record(first[0])
    for path in Path("results/.plans").iterdir():
        path.unlink()
    assert made(make) == first
    for path in Path("results/.plans").iterdir():
        path.unlink()
    newer = made(make, [200, *PIXELS[1:]])
    assert newer[0] != first[0]


@pytest.mark.parametrize("held", [b"", b"{", b"[]", b'{"ignored": {".txt": "x"}}', b"\xff\0"])
@pytest.mark.parametrize("ending", ["json", "parquet"])
def test_a_damaged_listing_or_its_notes_are_forgotten_and_made_again(caplog, ending, held):
    Path("data").mkdir()
    Path("data/README").touch()
    caplog.set_level("INFO")
    first = made(tars)
    path = Path("results/.plans", f"{first[0]}.{ending}")
    whole = path.read_bytes()
    path.write_bytes(held)
    caplog.clear()
    assert made(tars) == first
    assert f"{path} is damaged: listing the images again" in caplog.messages
    assert "data: passed over: 1 × without extension" in caplog.messages
    assert path.read_bytes() == whole


def test_a_damaged_plan_is_written_again():
    resolved = resolve(settings(folder(PIXELS, LABELS)))
    path = resolved.save()
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    assert resolved.save() == path
    assert path.read_bytes() == whole


@pytest.mark.parametrize("name", ["manifest.parquet", "t-00000000/records/shard-00000.parquet"])
def test_a_damaged_list_is_refused_by_name_and_once_removed_stands_in_no_way(name):
    first = made(folder)
    record(first[0])
    path = Path("results", first[0], name)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    for image_file in Path("data").iterdir():
        image_file.touch()
    with pytest.raises(UserError, match=path.name):
        made(folder)
    path.unlink()
    assert made(folder) == first


def test_an_unchanged_source_is_not_read_again(monkeypatch):
    record(made(tars)[0])
    monkeypatch.setattr("saev.images.sources.tars.index", None)
    monkeypatch.setattr("saev.images.sources.tars.Tars.read", None)
    made(tars)


def test_only_the_files_that_changed_are_read_again(monkeypatch):
    record(made(folder)[0])
    os.utime("data/03.bmp", ns=(1, 1))
    asked = []

    def read(self, entry):
        asked.append(entry.key)
        return image(13)

    monkeypatch.setattr("saev.images.sources.folder.Folder.read", read)
    made(folder)
    assert asked == ["03.bmp"]


def test_a_column_that_the_source_no_longer_brings_is_refused_at_the_start():
    record(made(parquet)[0])
    given = SOURCES["now"]
    for path in Path("data").iterdir():
        pq.write_table(pq.read_table(path).rename_columns(["image", "species"]), path)
    with pytest.raises(UserError, match=r"without a column 'sci'\. Their columns: species"):
        start(given)


def test_check_says_which_labels_changed_and_which_it_could_not_see():
    from saev.tools.check_inputs import labels_as_analysed

    images, _ = made(tars)
    record(images)
    Path("l.csv").write_text("path,site\n0.tar/00.bmp,north\n")
    table = {"table": "l.csv", "sha256": sha256_bytes(Path("l.csv").read_bytes())}
    meta = {"settings": {"labels": {"kind": {"source": "sci"}, "site": table}}}

    def found(deep=True):
        folder = Path("results", images, "t", "s", "a-00000000")
        findings = labels_as_analysed(folder, meta, Path("results", images), deep)
        return [(finding.kind, finding.text.split(" (")[0]) for finding in findings]

    assert found() == []
    tars(PIXELS, ["fox", *LABELS[1:]])
    Path("l.csv").write_text("path,site\n0.tar/00.bmp,south\n")
    site = ("stale", "the label site")
    assert found() == [("stale", "the label kind"), site]
    assert found(deep=False) == [site]
    Path("l.csv").unlink()
    Path("data/1.tar").unlink()
    assert found() == [
        ("not seen", "the label kind: data holds other images now"),
        ("not seen", "the label site: its table l.csv isn't there"),
    ]


@pytest.mark.parametrize("make", ALL)
def test_another_spelling_of_the_path_and_a_move_keep_the_directory(make, monkeypatch):
    first = made(make)
    record(first[0])
    (kind,) = SOURCES["now"]
    run = Path("results", first[0], "run.json")
    assert json.loads(run.read_text())["source"] == {kind: "data"}
    monkeypatch.setenv("HOME", str(Path.cwd()))
    for spelling in ("data/", "./data", "data//.", str(Path.cwd() / "data"), "~/data"):
        assert start({kind: spelling}) == first
        assert json.loads(run.read_text())["source"] == {kind: "data"}
    Path("elsewhere").mkdir()
    Path("data").rename("elsewhere/moved")
    assert start({kind: "elsewhere/moved"}) == first
    assert json.loads(run.read_text())["source"] == {kind: "elsewhere/moved"}
    images = Images(run.parent)
    recorded = pq.read_table(next(run.parent.glob("*/records/*.parquet")))["sha256"].to_pylist()
    if make is not saved:  # its library maps the files where it opened them first
        now = [sha256_bytes(images.source.read(entry)) for entry in images.read(0, N)]
        assert now == recorded


@pytest.mark.parametrize("make", [folder, tars])
def test_a_copy_keeps_the_directory_and_other_images_of_the_same_names_and_sizes_do_not(make):
    first = made(make)
    record(first[0])
    (kind,) = SOURCES["now"]
    shutil.copytree("data", "copy")
    assert start({kind: "copy"}) == first
    Path("data").rename("first")
    made(make, [255 - value for value in PIXELS])
    Path("data").rename("other")
    for path in Path("other").iterdir():
        os.utime(path, (0, 0))  # older than the recording
    other = start({kind: "other"})
    assert other[0] != first[0]
    assert start({kind: "first"}) == first
    assert start({kind: "other"}) == other


def test_images_of_a_stated_version_keep_their_path_in_the_digest():
    stated = {"n_images": 30, "version": "1"}
    (one, two, three) = (
        start({"folder": place, **stated})[0] for place in ("a", str(Path.cwd() / "a/"), "b")
    )
    assert one == two != three


def test_no_flipped_bit_of_a_listing_or_a_memory_reaches_a_result(tmp_path, monkeypatch, said):
    monkeypatch.chdir(tmp_path)
    given = settings(folder(PIXELS, LABELS))
    (name,) = resolve(given).names("images")
    kept = Path("results/.plans", f"{name}.parquet")
    (memory,) = Path("results/.plans").glob("seen.*.seen")
    whole, seen = kept.read_bytes(), memory.read_bytes()
    rng = np.random.default_rng(0)
    for path, data in ((kept, whole), (memory, seen)):
        for place in rng.integers(0, len(data), 15):
            flipped = bytearray(data)
            flipped[place] ^= 1 << rng.integers(8)
            path.write_bytes(flipped)
            assert resolve(given).names("images") == [name]
            assert kept.read_bytes() == whole
            assert memory.read_bytes() == seen
    assert said().count("is damaged: listing the images again") == 15
    assert said().count("is damaged: looking at the files as if for the first time") == 15
    kept.write_bytes(whole[:-9] + b"corrupted")
    with pytest.raises(UserError, match="was altered after it was written: start the workflow"):
        require_vouched(kept)
