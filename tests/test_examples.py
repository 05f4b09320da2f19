"""Each example is parsed and planned as it stands, without its data."""

import shutil

import pytest
import yaml
from project import ROOT, Project

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_planned_without_its_data(tmp_path, path):
    project = Project.create(tmp_path / "project", n_images=3)
    shutil.copy(ROOT / "config.yaml", project.folder)
    shutil.copytree(ROOT / "examples", project.folder / "examples")
    planned = project.planned("--configfile", f"examples/{path.name}")
    settings = yaml.safe_load(path.read_text())
    assert planned["train_sae"] == planned["build_dashboard"] == len(settings["runs"])
    images = settings.get("images", {}).get(settings["runs"][0]["images"], {}).get("n_images", 1161)
    shard_images = settings["vit"][settings["runs"][0]["vit"]].get("shard_images", 4096)
    assert planned["record_shard"] == -(-images // shard_images)
    assert (path.stem == "second_tower") == ("fetch_focus_weights" in planned)


def test_there_are_the_four_examples_that_the_docs_promise():
    assert [path.stem for path in EXAMPLES] == ["bioclip", "field", "imagenet", "second_tower"]
