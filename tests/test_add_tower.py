"""How a kind of tower is added: a file of its own, and a line (with an import) in
`saev/activations/towers/kinds.py`."""

import os
import shutil
import subprocess
import sys

from project import ROOT
from recording import write_pictures

TOY = '''"""Towers of a library that isn't there: `toy/WIDTH`."""

from torch import nn

from saev.activations.towers.backbone import Backbone, Outputs, UnknownModel, geometry_of


class Module(nn.Module):
    """Patches, and two blocks that add to them."""

    def __init__(self, width):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(2))

    def states(self, inputs):
        states = [self.patches(inputs).flatten(2).mT]
        for block in self.blocks:
            states.append(states[-1] + block(states[-1]))
        return states[1:]

    def forward(self, inputs):
        return self.states(inputs)[-1].mean(1)


class Toy(Backbone):
    """A tower without a class token."""

    prefix = "toy/"

    @classmethod
    def build(cls, settings):
        width = settings.model.removeprefix(cls.prefix)
        if not width.isdigit():
            raise UnknownModel(["toy/8", "toy/16"])
        half = (0.5, 0.5, 0.5)
        how = {"resize_mode": "shortest", "interpolation": "bicubic", "mean": half, "std": half}
        geometry = geometry_of(settings.model, settings.image_size or 32, (16, 16), how)
        return cls(Module(int(width)), geometry, 2, False, None)

    def outputs(self, inputs, layers, pooled):
        states = self.module.states(inputs)
        return Outputs([states[i] for i in layers], None, self.module(inputs) if pooled else None)
'''
USE = """
import sys
from pathlib import Path
from saev.activations.artifact import Activations
from saev.activations.towers.tower import load_tower
from saev.core.errors import UserError
from saev.settings.vit import VitSettings
from recording import list_images, record

folder = Path(sys.argv[1])
vit = dict(model="toy/8", weights="random", layers=[0, -1], tokens=["patches", "pooled"])
vit["shard_images"] = 256
listed = list_images(folder / "pictures", folder / "results/images")
reader = record(listed, listed / "vit", vit, range(1))
print(sorted((s.name, s.n_patches, s.d) for s in reader.streams.values()))
no_patches = {"model": "toy/wide", "tokens": ("patches",)}
no_class = {"model": "toy/8", "tokens": ("cls",)}
for wrong in (no_patches, no_class):
    try:
        load_tower(VitSettings(weights="random", layers=(0,), **wrong))
    except UserError as error:
        print(error)
"""


def test_a_kind_of_tower_is_a_file_and_a_line(tmp_path):
    package = tmp_path / "saev"
    shutil.copytree(ROOT / "saev", package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "activations/towers/toy.py").write_text(TOY)
    kinds = package / "activations/towers/kinds.py"
    text = kinds.read_text()
    for before, added in (
        ("Timm, OpenClip)", "Toy, "),
        ("from saev.activations.towers.weights ", "from saev.activations.towers.toy import Toy\n"),
    ):
        assert text.count(before) == 1, before
        text = text.replace(before, added + before)
    kinds.write_text(text)
    write_pictures(tmp_path / "pictures", 20)
    done = subprocess.run(
        [sys.executable, "-c", USE, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT / 'tests'}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    streams, unknown, no_class_token = done.stdout.splitlines()
    expected = [("layer-00.patches", 4, 8), ("layer-01.patches", 4, 8), ("pooled", 1, 8)]
    assert streams == str(expected)
    assert "did you mean toy/8?" in unknown
    assert "toy/8 has no class token" in no_class_token
