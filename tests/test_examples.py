"""Each example is parsed and planned as it stands, without its data."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml
from analysed import Case, vectors, write_images
from evaluated import evaluated, figures
from PIL import Image
from project import ROOT, Project

from saev.settings.evaluation import MaskSettings

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


def test_parts_of_broden_in_several_files_become_a_file_for_each_class(tmp_path):
    broden, out = tmp_path / "broden", tmp_path / "parts"
    (broden / "images/voc").mkdir(parents=True)
    (broden / "label.csv").write_text("number,name,category\n3,leg,part\n300,arm/hand,part\n")
    rows = ["image,part,scene"]
    for i in range(10):
        first, second = np.zeros((2, 4, 4, 3), np.uint8)
        first[:, :2, 0] = 3
        second[:2, :, 0], second[:2, :, 1] = 300 % 256, 300 // 256
        second[3, 3, 0] = 3  # of a class that the other file has too
        files = [f"voc/{i}_part_{level}.png" for level in (1, 2)]
        for name, pixels in zip(files, (first, second), strict=True):
            Image.fromarray(pixels).save(broden / "images" / name)
        rows.append(f"voc/{i}.jpg,{';'.join(files if i else files[:1])},12")
    rows.append("ade/without.jpg,,7")
    (broden / "index.csv").write_text("\n".join(rows) + "\n")
    said = python_script("broden_masks.py", broden, "part", out)
    asked = MaskSettings.model_validate_json(json.dumps(yaml.safe_load(said)["masks"]))
    assert asked == MaskSettings(folder=str(out), pixels="file", unnamed="none", classes=("leg",))
    leg, arm = (np.asarray(Image.open(out / f"{c}/voc/4.png")) for c in ("leg", "arm-hand"))
    assert np.array_equal(leg, first[..., 0] + second[..., 0] * (second[..., 1] == 0) == 3)
    assert np.array_equal(arm, second[..., 1] == 1)
    assert len([*out.rglob("*.png")]) == 10 + 9
    with pytest.raises(AssertionError, match="scene 12 is of the whole image: no mask"):
        python_script("broden_masks.py", broden, "scene", out)


def python_script(name: str, *given) -> str:
    """What a script among the examples prints."""
    command = [sys.executable, ROOT / "examples" / name, *given]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return done.stdout


def test_there_are_the_examples_that_the_docs_promise():
    assert [path.stem for path in EXAMPLES] == [
        *("ade20k", "bioclip", "broden", "field", "imagenet", "second_tower"),
    ]
    listed = (ROOT / "docs/inputs.md").read_text()
    assert all(f"`examples/{path.name}`" in listed for path in EXAMPLES)
