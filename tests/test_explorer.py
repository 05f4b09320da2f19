"""New images give the same numbers as when they are recorded and analysed."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from analysed import RELU, TOPK, write_sae
from PIL import Image
from project import ROOT, python
from recording import list_images, record, settings, write_pictures
from safetensors.numpy import load_file
from safetensors.torch import save_file

import saev
from saev.activations.towers.tower import load_tower
from saev.core.errors import UserError
from saev.core.files import sha256_file
from saev.images.artifact import Images
from saev.images.decode import open_rgb
from saev.settings.vit import VitSettings


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Images, recorded by a tiny tower with weights in a file, and a dictionary of each stream."""
    folder = tmp_path_factory.mktemp("recorded")
    write_pictures(folder / "pictures", 70)
    vit = settings(folder)
    tower = load_tower(VitSettings.model_validate_json(json.dumps(vit)))
    save_file(tower.backbone.module.state_dict(), folder / "tower.safetensors")
    weights = folder / "tower.safetensors"
    vit |= {"weights": str(weights), "weights_sha256": sha256_file(weights)}
    listed = list_images(folder / "pictures", folder / "results/pets")
    reader = record(listed, listed / "vit", vit, range(1))
    for stream in reader.streams:
        write_sae(reader.path / stream, reader.path, stream, TOPK)
    return reader


@pytest.mark.parametrize("stream", ["layer-01.cls", "layer-00.patches", "pooled"])
@pytest.mark.parametrize("sae", [TOPK, RELU], ids=["topk", "relu"])
def test_images_give_the_latents_of_their_recorded_activations(recorded, tmp_path, stream, sae):
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


def test_images_of_any_mode_are_decoded_as_files_are(recorded, tmp_path):
    explorer = saev.Explorer(recorded.path / "layer-00.patches")
    rng = np.random.default_rng(1)
    exif = Image.Exif()
    exif[0x0112] = 6
    rgba = Image.fromarray(rng.integers(0, 256, (40, 50, 4)).astype(np.uint8), "RGBA")
    gray = Image.fromarray(rng.integers(0, 65536, (40, 50)).astype(np.uint16))
    images = {"rgba": rgba, "gray": gray, "turned": rgba, "palette": rgba.quantize(9)}
    for name, image in images.items():
        path = tmp_path / f"{name}.png"
        image.save(path, exif=exif if name == "turned" else Image.Exif())
        files, memory = explorer.encode_images([open_rgb(path), Image.open(path)])
        assert np.array_equal(files.latents, memory.latents)
        assert np.array_equal(files.values, memory.values)


def test_what_is_no_image_is_refused_by_its_place(recorded, tmp_path):
    explorer = saev.Explorer(recorded.path / "layer-01.cls")
    good = Image.new("RGB", (30, 30), "red")
    assert explorer.encode_images([]) == []
    for whole in (good, "a.png", tmp_path):
        with pytest.raises(UserError, match="give a list of images"):
            explorer.encode_images(whole)
    for bad, why in [
        ("a.png", "image 1 is a str, not an image of Pillow"),
        (np.zeros((30, 30, 3), np.uint8), "image 1 is a ndarray"),
        (Image.new("RGB", (0, 5)), "image 1 is empty"),
        (Image.new("LAB", (30, 30)), "image 1 can't be used: Lab colours"),
        (Image.new("RGB", (1, 9_000_000)), "image 1 can't be used: .* too narrow"),
    ]:
        with pytest.raises(UserError, match=why):
            explorer.encode_images([good, bad])
    one = explorer.encode_images([good])[0]
    with pytest.raises(UserError, match="no latent 24"):
        one.map(24)


@pytest.mark.parametrize("stream", ["layer-00.cls", "layer-00.patches", "pooled"])
def test_an_edit_changes_the_latents_that_it_names_and_keeps_the_rest(recorded, stream):
    explorer = saev.Explorer(recorded.path / stream)
    images = [Image.fromarray(np.full((40, 40, 3), c, np.uint8)) for c in (20, 90, 200)]
    original = explorer.edit(images, {})
    assert original.shape == (3, 16)
    assert explorer.edit(images, {3: 1.0, 4: 1.0}) == pytest.approx(original, abs=1e-5)
    seen = [one.latents.tolist() for one in explorer.encode_images(images)]
    fires = next(j for j in range(24) if any(j in latents for latents in seen))
    assert np.abs(explorer.edit(images, {fires: 0.0}) - original).max() > 1e-6
    quiet = next(j for j in range(24) if not any(j in latents for latents in seen))
    assert (explorer.edit(images, {quiet: 7.0}) == original).all()
    assert np.abs(explorer.edit(images, {quiet: 7.0}, "set") - original).max() > 1e-4
    with pytest.raises(UserError, match="there is no latent 24"):
        explorer.edit(images, {24: 0})
    with pytest.raises(UserError, match="how: 'add'; allowed: scale, set"):
        explorer.edit(images, {1: 0}, "add")
    with pytest.raises(UserError, match="give a list of images"):
        explorer.edit(images[0], {1: 0})


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
        with pytest.raises(UserError, match=r"weights: the file .* is gone: restore it"):
            saev.Explorer(recorded.path / "layer-01.cls")
    finally:
        weights.write_bytes(data)


def test_a_tower_that_is_no_longer_what_it_was_is_refused(recorded, monkeypatch):
    value = json.loads((recorded.path / "meta.json").read_text())
    value["summary"]["geometry"]["mean"][0] = 0.25
    monkeypatch.setattr("saev.api.explorer.read_meta", lambda folder, stage: (value, None))
    monkeypatch.setattr("saev.api.explorer.require_input", lambda *arguments: None)
    with pytest.raises(UserError, match=r"the tower has geometry .* recorded with .*0\.25"):
        saev.Explorer(recorded.path / "layer-01.cls")


def runs(project):
    """The runs of the tiny project: of whole images, and of patches."""
    return sorted(project.folder.glob("results/pets-*/tiny-*/*/named-*"))


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("number", [0, 1], ids=["cls", "patches"])
def test_a_recorded_image_gives_what_the_analysis_found_for_its_row(built, number, threads):
    run = saev.open_run(runs(built)[number])
    tensors = load_file(run.path / "latents.safetensors")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        rows = np.random.default_rng(2).permutation(300)
        found = saev.Explorer(run.path).encode_images(run.image(row) for row in rows)
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
def test_an_image_that_is_gone_or_has_changed_is_refused_by_name(built, tmp_path):
    folder = tmp_path / "project"
    subprocess.run(["cp", "-a", built.folder, folder], check=True)
    run = saev.open_run(next(folder.glob("results/pets-*/tiny-*/cls-*/named-*")))
    path = folder / "pictures/cat/0003.png"
    assert run.image(1).tobytes() == Image.open(path).tobytes()
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(UserError, match=r"row 1, cat/0003\.png of .*pictures: has changed"):
        run.image(1)
    path.unlink()
    with pytest.raises(UserError, match=r"row 1, cat/0003\.png of .*pictures: No such file"):
        run.image(1)
    shutil.rmtree(folder / "pictures")
    with pytest.raises(UserError, match=r"row 0, cat/0000\.png of .*pictures: No such file"):
        saev.open_run(run.path).image(0)
    for row in (-1, 300):
        with pytest.raises(UserError, match="there is no row"):
            run.image(row)
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
