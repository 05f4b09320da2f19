"""Each example is parsed and planned as it stands, without its data."""

import shutil

import numpy as np
import pytest
import yaml
from analysed import Case, vectors, write_images
from evaluated import evaluated, figures
from PIL import Image
from project import ROOT, Project

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_planned_without_its_data(tmp_path, path):
    project = Project.create(tmp_path / "project", n_images=3)
    shutil.copy(ROOT / "config.yaml", project.folder)
    shutil.copytree(ROOT / "examples", project.folder / "examples")
    settings = yaml.safe_load(path.read_text())
    for evaluation in settings.get("evaluation", {}).values():
        masks = evaluation["masks"]  # these are read when the workflow starts
        stand_in = project.folder / masks["folder"] / f"a/b{masks.get('ending', '.png')}"
        stand_in.parent.mkdir(parents=True)
        Image.new("L", (32, 32)).save(stand_in)
    planned = project.planned("--configfile", f"examples/{path.name}")
    assert planned["train_sae"] == planned["build_dashboard"] == len(settings["runs"])
    images = settings.get("images", {}).get(settings["runs"][0]["images"], {}).get("n_images", 1161)
    vit = settings.get("vit", {}).get(settings["runs"][0]["vit"], {})
    assert planned["record_shard"] == -(-images // vit.get("shard_images", 4096))
    assert (path.stem == "second_tower") == ("fetch_focus_weights" in planned)
    assert ("evaluation" in settings) == ("evaluate_dictionary" in planned)


@pytest.mark.parametrize(
    ("name", "evaluation", "mode", "keys"),
    [
        ("ade20k", "classes", "L", ("training/ADE_train_{:08}.jpg", "{}/ADE_train_{:08}.png")),
        ("broden", "materials", "RGB", ("opensurfaces/{}.jpg", "{}/{}_material.png")),
    ],
)
def test_masks_of_an_examples_layout_are_found(tmp_path, name, evaluation, mode, keys):
    asked = yaml.safe_load((ROOT / f"examples/{name}.yaml").read_text())["evaluation"][evaluation]
    masks = {**asked["masks"], "folder": str(tmp_path / "masks")}
    values, n = list(masks["classes"].values())[-2:], 200
    x = vectors(n, patches=4)
    key = [keys[0].format(i) for i in range(n)]
    write_images(tmp_path, key)
    rng = np.random.default_rng(0)
    for i in range(n):
        value = rng.choice([0, *values], 4)
        for c in (0, 1):
            x[i, value == values[c], c] += 4
        pixels = np.kron(value.reshape(2, 2), np.ones((16, 16), np.int64))
        if mode == "RGB":  # and a value that has no name
            pixels[0, 0] = 300
            pixels = np.stack([pixels % 256, pixels // 256, 0 * pixels], axis=2)
        path = tmp_path / "masks" / keys[1].format(key[i].split("/")[0], i)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    case = Case(tmp_path, x, {})
    case.analyse()
    found = figures(evaluated(case, tmp_path / "out", masks=masks))["masks.map"]
    assert found.n == 2
    assert not found.note.startswith("no")
    assert found.measured.value > 2 * found.baselines["constant"].value - 0.2


def test_there_are_the_examples_that_the_docs_promise():
    assert [path.stem for path in EXAMPLES] == [
        *("ade20k", "bioclip", "broden", "field", "imagenet", "second_tower"),
    ]
    listed = (ROOT / "docs/inputs.md").read_text()
    assert all(f"`examples/{path.name}`" in listed for path in EXAMPLES)
