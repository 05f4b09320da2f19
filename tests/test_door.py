"""The way in for programs: what it reads is what was written, and new pictures give what is recorded."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from analysed import RELU, TOPK, Case, cycling, vectors, write_images, write_sae
from PIL import Image
from project import ROOT
from recording import list_images, record, settings, write_pictures
from safetensors.numpy import load_file
from safetensors.torch import save_file

import saev
from saev.artifacts.images import Images
from saev.decode import open_rgb
from saev.errors import UserError
from saev.files import sha256_file
from saev.sae import Sae
from saev.settings.vit import VitSettings
from saev.vit import load_tower

ABSENT = (0, 7, 300, 511)
N = 600


def opened(folder, patches=0, **more):
    """An analysis of synthetic activations, and the run that it is."""
    labels = {"kind": cycling(N, "a", None, "b"), "row": cycling(N, "x")}
    case = Case(folder, vectors(N, patches=patches), labels, absent=ABSENT, **more)
    case.analyse()
    write_images(folder, [f"{i:04}.png" for i in range(N)])
    return case, saev.open_run(case.out)


@pytest.fixture(scope="module", params=[0, 5], ids=["cls", "patches"])
def case_and_run(request, tmp_path_factory):
    return opened(tmp_path_factory.mktemp("case"), request.param, dtype="float16")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Pictures, recorded by a tiny tower with weights in a file, and a dictionary of each stream."""
    folder = tmp_path_factory.mktemp("recorded")
    write_pictures(folder / "pictures", 70)
    vit = settings(folder)
    tower = load_tower(VitSettings.model_validate_json(json.dumps(vit)))
    save_file(tower.module.state_dict(), folder / "tower.safetensors")
    weights = folder / "tower.safetensors"
    vit |= {"weights": str(weights), "weights_sha256": sha256_file(weights)}
    listed = list_images(folder / "pictures", folder / "results/pets")
    reader = record(listed, listed / "vit", vit, range(1))
    for stream in reader.streams:
        write_sae(reader.path / stream, reader.path, stream, TOPK)
    return reader


def python(code, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_saev_imports_nothing_heavy():
    heavy = "'torch', 'numpy', 'pandas', 'PIL', 'pyarrow', 'pydantic'"
    assert python(f"import saev, sys; print(sys.modules.keys() & {{{heavy}}})") == "set()\n"


def test_the_tables_of_a_run_are_read_without_torch(case_and_run):
    case, run = case_and_run
    code = (
        "import saev, sys; run = saev.open_run(sys.argv[1]); run.labels, run.settings, run.summary; "
        "print(len(run.latents), len(run.top_images(5)), 'torch' in sys.modules)"
    )
    assert python(code, case.out) == f"{len(run.latents)} {len(run.top_images(5))} False\n"


def test_a_name_that_saev_does_not_offer_is_no_attribute():
    with pytest.raises(AttributeError, match="'explore'"):
        saev.explore  # noqa: B018
    assert set(saev.__all__) <= set(dir(saev))
    assert all(callable(getattr(saev, name)) for name in saev.__all__)


def test_a_dictionary_is_loaded_from_its_directory_or_its_file(case_and_run):
    case, run = case_and_run
    for path in (case.sae, str(case.sae / "checkpoint.safetensors")):
        sae = saev.load(path)
        assert isinstance(sae, Sae)
        assert not sae.training
        x = torch.from_numpy(vectors(5, sae.d))
        assert torch.equal(sae.encode(x), run.sae.encode(x))
        assert sae.decode(sae.encode(x)).shape == x.shape


def test_the_tables_of_a_run_are_those_of_its_files(case_and_run):
    case, run = case_and_run
    table = pd.read_parquet(case.out / "latents.parquet")
    assert run.latents.index.name == "latent"
    pd.testing.assert_frame_equal(run.latents.reset_index(), table)
    assert run.labels.index.tolist() == list(range(N))
    assert run.labels["label.kind"].fillna("-").tolist() == cycling(N, "a", "-", "b")
    assert run.settings["analysis"] == case.settings
    assert run.settings["sae"]["n_latents"] == run.summary["n_latents"] == 24


def test_top_images_are_the_entries_that_exist_best_first(case_and_run):
    case, run = case_and_run
    tensors = load_file(case.out / "latents.safetensors")
    for latent in range(run.summary["n_latents"]):
        top = run.top_images(latent)
        there = tensors["top_rows"][latent] >= 0
        assert top.row.tolist() == tensors["top_rows"][latent][there].tolist()
        assert np.array_equal(top.value, tensors["top_values"][latent][there])
        assert top.key.tolist() == [f"{row:04}.png" for row in top.row]
        kinds = [case.labels["kind"][row] or "none" for row in top.row]
        assert top["label.kind"].fillna("none").tolist() == kinds
        if case.values.ndim == 3:
            assert top.patch.tolist() == tensors["top_patches"][latent][there].tolist()
        else:
            assert top.patch.isna().all()
    assert len(run.top_images(0)) == 0
    columns = ["row", "key", "value", "patch", "label.kind", "label.row"]
    assert list(run.top_images(0).columns) == columns
    assert run.top_images(0).dtypes.equals(run.top_images(5).dtypes)


def test_activations_are_read_by_position_and_by_row(case_and_run):
    case, run = case_and_run
    x = run.activations()
    stored = case.values.astype(np.float16).astype(np.float32)
    present = np.delete(stored, ABSENT, axis=0)
    assert (len(x), x.shape, x.dtype) == (len(present), present.shape, np.float32)
    assert x.rows.tolist() == [row for row in range(N) if row not in ABSENT]
    mask = x.rows % 50 == 1
    keys = (3, -1, np.int64(9), slice(250, 310), slice(None), slice(None, None, -7), slice(5, 5))
    for key in (*keys, [5, 590, 5, -2], np.array([], int), mask, np.array([[1, 2], [3, 4]])):
        assert np.array_equal(x[key], present[key])
        assert x[key].dtype == np.float32
    assert np.array_equal(x.take([301, 1]), stored[[301, 1]])
    assert sum(1 for _ in x) == len(x)
    with pytest.raises(IndexError):
        x[len(x)]
    with pytest.raises(UserError, match="no activations of row 7"):
        x.take([7])


def test_activations_that_were_not_recorded_are_refused_with_what_was(case_and_run):
    _, run = case_and_run
    for wanted in ({"layer": 0}, {"tokens": "pooled"}, {"layer": 7, "tokens": "cls"}):
        with pytest.raises(UserError, match=r"holds no .*it holds: layer-01\."):
            run.activations(**wanted)
    assert run.activations(layer=-1).shape == run.activations().shape


@pytest.mark.parametrize("latent", [24, -1, 1.0, "3"])
def test_a_latent_out_of_range_is_refused(case_and_run, latent):
    with pytest.raises(UserError, match=r"no latent|a whole number"):
        case_and_run[1].top_images(latent)


def test_a_run_of_other_images_speaks_of_those(tmp_path):
    _, here = opened(tmp_path / "results/mine-1")
    there = tmp_path / "results/theirs-2"
    shutil.copytree(tmp_path / "results/mine-1", there)
    write_images(there, [f"theirs {i}" for i in range(N)])
    meta = here.path / "meta.json"
    value = json.loads(meta.read_text())
    value["settings"]["on"] = "theirs-2"
    meta.write_text(json.dumps(value))
    run = saev.open_run(here.path)
    assert run.top_images(5).key[0].startswith("theirs")
    assert str(there / "vit") in repr(run.activations(1, "cls"))


def test_paths_that_hold_no_run_are_refused_with_what_does(case_and_run, tmp_path):
    case, _ = case_and_run
    half = tmp_path / "half"
    half.mkdir()
    for opener in (saev.open_run, saev.Explorer):
        with pytest.raises(UserError, match=r"there is no directory .*nowhere.*results/\{images\}"):
            opener(tmp_path / "nowhere")
        with pytest.raises(UserError, match=r"half isn't complete: it has no meta\.json"):
            opener(half)
    with pytest.raises(UserError, match="is no run: name the directory of an analysis"):
        saev.open_run(case.sae)
    with pytest.raises(UserError, match=r"neither a run .* nor a dictionary"):
        saev.Explorer(case.activations)
    with pytest.raises(UserError, match="nowhere is missing"):
        saev.load(tmp_path / "nowhere")


def test_a_run_that_is_half_there_opens_and_says_what_is_missing(tmp_path):
    case, _ = opened(tmp_path / "images")
    (case.sae / "checkpoint.safetensors").rename(tmp_path / "kept")
    (tmp_path / "images/manifest.parquet").unlink()
    run = saev.open_run(case.out)
    assert len(run.latents) == 24
    for look in (lambda: run.sae, run.activations):
        with pytest.raises(UserError, match=r"checkpoint\.safetensors is missing: train"):
            look()
    assert run.activations(1, "cls").shape == (N - len(ABSENT), 10)
    with pytest.raises(UserError, match=r"can't read .*manifest\.parquet"):
        run.top_images(5)
    (case.out / "latents.parquet").unlink()
    with pytest.raises(UserError, match=r"latents\.parquet is missing"):
        saev.open_run(case.out)


def test_results_that_were_made_again_are_not_mixed_with_older_ones(tmp_path):
    case, run = opened(tmp_path / "images")
    meta = case.sae / "meta.json"
    meta.write_text(meta.read_text() + "\n")
    with pytest.raises(UserError, match="another result of the stage train"):
        _ = run.sae
    meta = case.activations / "meta.json"
    meta.write_text(meta.read_text() + "\n")
    with pytest.raises(UserError, match="another result of the stage activations"):
        run.activations(1, "cls")
    with pytest.raises(UserError, match="another result of the stage activations"):
        saev.Explorer(case.sae)


def test_a_newer_format_is_refused(tmp_path):
    case, _ = opened(tmp_path / "images")
    for path in (case.out / "meta.json", case.sae / "meta.json"):
        path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 2'))
    for look in (lambda: saev.open_run(case.out), lambda: saev.load(case.sae)):
        with pytest.raises(UserError, match="format 2; this saev reads up to 1: use a newer"):
            look()


@pytest.mark.parametrize("stream", ["layer-01.cls", "layer-00.patches", "pooled"])
@pytest.mark.parametrize("sae", [TOPK, RELU], ids=["topk", "relu"])
def test_pictures_give_the_latents_of_their_recorded_activations(recorded, tmp_path, stream, sae):
    made = write_sae(recorded.path / tmp_path.name, recorded.path, stream, sae)
    explorer = saev.Explorer(made)
    rows = np.random.default_rng(0).permutation(70)
    images = Images(recorded.path.parent)
    folder, entries = Path(images.source.where), images.read(0, 70)
    found = explorer.encode_images(Image.open(folder / entries[row].key) for row in rows)
    assert len(found) == len(rows)
    x = recorded.float32(recorded.take(recorded.streams[stream], rows))
    z = explorer.sae.encode(torch.from_numpy(x).reshape(-1, x.shape[-1])).numpy()
    z = z.reshape(*x.shape[:2], -1)
    for one, dense in zip(found, z, strict=True):
        largest = dense.max(axis=0)
        order = np.argsort(-largest, kind="stable")[: (largest > 0).sum()]
        assert one.latents.tolist() == order.tolist()
        assert np.array_equal(one.values, largest[one.latents])
        assert one.values.dtype == np.float32
        if stream.endswith("patches"):
            assert np.array_equal(one.patches, dense.argmax(axis=0)[one.latents])
            for latent in range(explorer.sae.n_latents):
                assert np.array_equal(one.map(latent), dense[:, latent].reshape(2, 2))
        else:
            assert one.patches is None
            with pytest.raises(UserError, match="there is no map"):
                one.map(0)


def test_pictures_of_any_mode_are_decoded_as_files_are(recorded, tmp_path):
    explorer = saev.Explorer(recorded.path / "layer-00.patches")
    rng = np.random.default_rng(1)
    exif = Image.Exif()
    exif[0x0112] = 6
    rgba = Image.fromarray(rng.integers(0, 256, (40, 50, 4)).astype(np.uint8), "RGBA")
    gray = Image.fromarray(rng.integers(0, 65536, (40, 50)).astype(np.uint16))
    pictures = {"rgba": rgba, "gray": gray, "turned": rgba, "palette": rgba.quantize(9)}
    for name, picture in pictures.items():
        path = tmp_path / f"{name}.png"
        picture.save(path, exif=exif if name == "turned" else Image.Exif())
        files, memory = explorer.encode_images([open_rgb(path), Image.open(path)])
        assert np.array_equal(files.latents, memory.latents)
        assert np.array_equal(files.values, memory.values)


def test_what_is_no_picture_is_refused_by_its_place(recorded, tmp_path):
    explorer = saev.Explorer(recorded.path / "layer-01.cls")
    good = Image.new("RGB", (30, 30), "red")
    assert explorer.encode_images([]) == []
    for whole in (good, "a.png", tmp_path):
        with pytest.raises(UserError, match="takes a list of pictures"):
            explorer.encode_images(whole)
    for bad, why in [
        ("a.png", "picture 1 is a str, not a picture of Pillow"),
        (np.zeros((30, 30, 3), np.uint8), "picture 1 is a ndarray"),
        (Image.new("RGB", (0, 5)), "picture 1 is empty"),
        (Image.new("LAB", (30, 30)), "picture 1 can't be used: Lab colours"),
        (Image.new("RGB", (1, 9_000_000)), "picture 1 can't be used: .* too narrow"),
    ]:
        with pytest.raises(UserError, match=why):
            explorer.encode_images([good, bad])
    one = explorer.encode_images([good])[0]
    with pytest.raises(UserError, match="no latent 24"):
        one.map(24)


def test_weights_that_are_gone_or_others_are_refused(recorded):
    weights = recorded.path.parents[2] / "tower.safetensors"
    data = weights.read_bytes()
    try:
        weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(
            UserError, match=r"weights: .* isn't the file that .* SHA-256 [0-9a-f]{64}"
        ):
            saev.Explorer(recorded.path / "layer-01.cls")
        weights.unlink()
        with pytest.raises(UserError, match=r"weights: the file .* is gone: bring it back"):
            saev.Explorer(recorded.path / "layer-01.cls")
    finally:
        weights.write_bytes(data)


def test_a_tower_that_is_no_longer_what_it_was_is_refused(recorded, monkeypatch):
    value = json.loads((recorded.path / "meta.json").read_text())
    value["summary"]["geometry"]["mean"][0] = 0.25
    monkeypatch.setattr("saev.explorer.read_meta", lambda folder, stage: (value, None))
    monkeypatch.setattr("saev.explorer.require_input", lambda *arguments: None)
    with pytest.raises(UserError, match=r"the tower has geometry .* recorded with .*0\.25"):
        saev.Explorer(recorded.path / "layer-01.cls")


def runs(project):
    """The runs of the tiny project: of whole pictures, and of patches."""
    return sorted(project.folder.glob("results/pets-*/tiny-*/*/named-*"))


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("number", [0, 1], ids=["cls", "patches"])
def test_a_recorded_picture_gives_what_the_analysis_found_for_its_row(built, number, threads):
    run = saev.open_run(runs(built)[number])
    tensors = load_file(run.path / "latents.safetensors")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        rows = np.random.default_rng(2).permutation(300)
        found = saev.Explorer(run.path).encode_images(run.picture(row) for row in rows)
    finally:
        torch.set_num_threads(before)
    seen = [[] for _ in range(run.summary["n_latents"])]
    for row, one in zip(rows.tolist(), found, strict=True):
        patches = [-1] * len(one.latents) if one.patches is None else one.patches.tolist()
        for latent, value, patch in zip(one.latents, one.values, patches, strict=True):
            seen[latent].append((-value, row, patch))
    assert [len(entries) for entries in seen] == tensors["image_count"].tolist()
    for latent, entries in enumerate(seen):
        expected = [
            (-value, row, patch)
            for value, row, patch in zip(
                *(tensors[f"top_{name}"][latent] for name in ("values", "rows", "patches")),
                strict=True,
            )
            if row >= 0
        ]
        assert sorted(entries)[:9] == expected


@pytest.mark.slow
def test_a_picture_that_is_gone_or_has_changed_is_refused_by_name(built, tmp_path):
    folder = tmp_path / "project"
    subprocess.run(["cp", "-a", built.folder, folder], check=True)
    run = saev.open_run(next(folder.glob("results/pets-*/tiny-*/cls-*/named-*")))
    path = folder / "pictures/cat/0003.png"
    assert run.picture(1).tobytes() == Image.open(path).tobytes()
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(UserError, match=r"row 1, cat/0003\.png of .*pictures: has changed"):
        run.picture(1)
    path.unlink()
    with pytest.raises(UserError, match=r"row 1, cat/0003\.png of .*pictures: No such file"):
        run.picture(1)
    shutil.rmtree(folder / "pictures")
    with pytest.raises(UserError, match=r"row 0, cat/0000\.png of .*pictures: No such file"):
        saev.open_run(run.path).picture(0)
    for row in (-1, 300):
        with pytest.raises(UserError, match="there is no row"):
            run.picture(row)
    (folder / "tower.json").unlink()
    with pytest.raises(UserError, match=r"model: the file .*tower\.json that .* is gone"):
        saev.Explorer(run.path)


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1], ids=["cls", "patches"])
def test_the_examples_of_the_docs_run(built, number):
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(), re.S)
    code = re.sub('"results/[^"]*"', repr(str(runs(built)[number])), block)
    assert code != block
    assert python(code).startswith("[")
