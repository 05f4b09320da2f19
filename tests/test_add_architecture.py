"""How an architecture is added: three files, and everything else follows from them.

1. its settings, a class in `saev/settings/sae.py`, and a line there in `AnySaeSettings`;
2. its dictionary, a file in `saev/sae/`;
3. a line in `saev/sae/registry.py` (and an import) that puts the two together.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from trained import ROOT, TOPK, arguments

from saev.sae.registry import ARCHITECTURES
from saev.settings.sae import SAE_SETTINGS

SETTINGS = '''class FloorKSettings(SelectingSettings):
    """Keeps the k largest latents of each vector that exceed a floor."""

    telling: ClassVar[tuple[str, ...]] = ("k", "floor")

    architecture: Literal["floork"]
    floor: float = Field(0.0, ge=0, description="What an active latent exceeds, as a share.")


'''
DICTIONARY = '''"""TopK above a floor."""

from typing import ClassVar

import torch
from torch import Tensor

from saev.sae import kernels
from saev.sae.base import Draw
from saev.sae.codes import Codes
from saev.sae.selecting import Selecting
from saev.settings.sae import FloorKSettings


class FloorK(Selecting):
    """σ keeps the k largest pre-activations of a vector above a floor, and zeroes the rest."""

    settings: FloorKSettings
    equation: ClassVar[str] = "z = topk_k(pre where pre > floor, else 0)"
    floor: Tensor

    def __init__(
        self, settings: FloorKSettings, d: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(settings, d, generator)
        self.register_buffer("floor", torch.zeros(()))

    @torch.no_grad()
    def start(self, draw: Draw) -> None:
        super().start(draw)
        self.floor.copy_(self.settings.floor * self.normalise(draw(50, 6)).norm(dim=1).mean())

    def select(self, pre: Tensor) -> Codes:
        above = torch.where(pre > self.floor, pre, 0)
        return Codes.of(kernels.of(pre).largest(above, self.settings.k), self.n_latents)
'''
USE = """
import json, sys
from pathlib import Path

import numpy as np
import torch

import saev
from analysed import Case, cycling, vectors
from saev.settings.markdown import reference
from saev.settings.sweep import KEYS
from saev.train import artifact

here = Path(sys.argv[1])
assert Path(saev.__file__).is_relative_to(here), saev.__file__
sae = artifact.load(here / "s")
assert sae.architecture == "floork"
assert sae.settings.in_short() == {"k": 2, "floor": 0.1}
assert sae.floor > 0
x = torch.randn(64, sae.d, generator=torch.Generator().manual_seed(0)) * 3
z = sae.encode(x)
assert z[z != 0].min() > sae.floor
assert 0 < (z > 0).sum(dim=1).max() <= 2
line = json.loads((here / "s/train.jsonl").read_text().splitlines()[-1])
assert line["eval_nmse"] < 1 and 0 < line["l0"] <= 2
assert "floor" in KEYS
assert "sae, architecture: floork" in reference()
settings = {"architecture": "floork", "n_latents": 24, "k": 3, "floor": 0.1}
settings |= {"seed": 5, "held_out": 0.2}
case = Case(here / "case", vectors(300), {"kind": cycling(300, "x", "y")}, sae=settings)
found = case.analyse()["splits"]
assert 0 < found["held_out"]["l0"] <= 3
"""


def edit(path: Path, before: str, added: str) -> None:
    """Put ``added`` before the one place where ``before`` stands."""
    text = path.read_text()
    assert text.count(before) == 1, (path, before)
    path.write_text(text.replace(before, added + before))


def contents(folder: Path) -> dict[str, bytes]:
    paths = (p for p in folder.rglob("*.py") if "kernels" not in p.parts)
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths}


@pytest.mark.slow
def test_an_architecture_is_added_in_three_files_and_trains_loads_and_is_analysed(
    activations, tmp_path
):
    package = tmp_path / "saev"
    shutil.copytree(ROOT / "saev", package, ignore=shutil.ignore_patterns("__pycache__", "kernels"))
    (package / "sae/kernels").symlink_to(ROOT / "saev/sae/kernels")  # compiled once
    before = contents(package)

    edit(package / "settings/sae.py", "AnySaeSettings = ", SETTINGS)
    edit(package / "settings/sae.py", "    TopKSettings\n", "    FloorKSettings |\n")
    (package / "sae/floork.py").write_text(DICTIONARY)
    edit(package / "sae/registry.py", "from saev.sae.topk ", "from saev.sae.floork import FloorK\n")
    edit(package / "sae/registry.py", '    "topk": TopK', '    "floork": FloorK,\n')

    after = contents(package)
    assert sorted(name for name in after if after[name] != before.get(name)) == [
        "sae/floork.py",
        "sae/registry.py",
        "settings/sae.py",
    ]
    settings = TOPK | {"architecture": "floork", "floor": 0.1}
    given = arguments(settings, activations, tmp_path / "s")
    for command in (["-m", "saev.train", *given], ["-c", USE, str(tmp_path)]):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT / 'tests'}"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr


def test_every_architecture_has_settings_and_a_dictionary():
    assert list(ARCHITECTURES) == list(SAE_SETTINGS)
