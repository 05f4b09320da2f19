"""A copy of the project with tiny images and a tiny tower: the real workflow runs in seconds."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import warm
import yaml
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parent.parent
TREE = ("Snakefile", "rules", "saev", "demo", "envs", "profiles", "pyproject.toml")
VOLATILE = {".plans", ".state", ".verified", "baselines", "runs", "report", "costs.js"}
COLOURS = {"cat": "#c33", "dog": "#3a3", "spider": "#33c"}

TOWER = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
}

SAE = {
    "architecture": "topk",
    "layer": 1,
    "n_latents": 48,
    "k": 4,
    "aux_k": 8,
    "aux_coefficient": 0.03,
    "dead_after": 500,
    "normalisation": "per_dimension",
    "batch_size": 64,
    "lr": 0.003,
    "seed": 1,
    "held_out": 0.2,
    "log_every": 5,
    "eval_every": 10,
}


def config() -> dict:
    """Settings of the tiny project."""
    return {
        "images": {"pets": {"folder": "pictures", "credit": "drawn by the tests"}},
        "vit": {
            "tiny": {
                "model": "tower.json",
                "weights": "random",
                "layers": [0, 1],
                "tokens": ["cls", "patches"],
                "shard_images": 256,
            }
        },
        "sae": {
            "cls": {**SAE, "tokens": "cls", "epochs": 20},
            "patches": {**SAE, "tokens": "patches", "epochs": 2},
        },
        "analysis": {
            "named": {
                "labels": {"animal": {"folder": True}, "site": {"table": "sites.csv"}},
                "top_images": 9,
            }
        },
        "runs": [
            {"images": "pets", "vit": "tiny", "sae": "cls", "analysis": "named"},
            {"images": "pets", "vit": "tiny", "sae": "patches", "analysis": "named"},
        ],
        # A training of a second has states to resume from too.
        "compute": {"threads": 1, "workers": 1, "wandb": "disabled", "state_seconds": 0.05},
    }


def draw_pictures(folder: Path, n: int = 300) -> list[str]:
    """Draw ``n`` small images of three kinds; return their keys."""
    rng = np.random.default_rng(0)
    keys = []
    for i in range(n):
        kind = list(COLOURS)[i % 3]
        picture = Image.new("RGB", (44, 36), tuple(rng.integers(180, 256, 3).tolist()))
        x, y = rng.integers(2, 20, 2).tolist()
        draw = ImageDraw.Draw(picture)
        if kind == "cat":
            draw.ellipse((x, y, x + 14, y + 14), fill=COLOURS[kind])
        elif kind == "dog":
            draw.rectangle((x, y, x + 14, y + 12), fill=COLOURS[kind])
        else:
            draw.line((x, y, x + 16, y + 14), fill=COLOURS[kind], width=3)
            draw.line((x + 16, y, x, y + 14), fill=COLOURS[kind], width=3)
        key = f"{kind}/{i:04d}.png"
        (folder / kind).mkdir(parents=True, exist_ok=True)
        picture.save(folder / key)
        keys.append(key)
    return keys


class Project:
    """A project in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    compiled: Path | None = None
    """A project whose workflow has run, with what Python and Numba have compiled for it."""

    @classmethod
    def create(cls, folder: Path, n_images: int = 300) -> "Project":
        folder.mkdir(parents=True, exist_ok=True)
        base, ignored = ROOT, ["cache", "*.pyc.*", "*.nb[ci]"]  # the last may be half written
        if cls.compiled and (cls.compiled.parent / "complete").exists():
            base, ignored = cls.compiled, ["cache"]
        for name in TREE:
            source = base / name
            if source.is_dir():
                ignore = shutil.ignore_patterns(*ignored)
                shutil.copytree(source, folder / name, ignore=ignore)
            else:
                shutil.copy(source, folder / name)
        keys = draw_pictures(folder / "pictures", n_images)
        rows = [f"{key},{'north' if i % 2 else 'south'}" for i, key in enumerate(keys)]
        (folder / "sites.csv").write_text("\n".join(["path,site", *rows]) + "\n")
        (folder / "tower.json").write_text(json.dumps(TOWER))
        project = cls(folder)
        project.configure(config())
        return project

    def configure(self, settings: dict) -> None:
        (self.folder / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))

    def settings(self) -> dict:
        return yaml.safe_load((self.folder / "config.yaml").read_text())

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]

    def environment(self) -> dict[str, str]:
        binaries = str(Path(sys.executable).parent)
        return {**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}

    def snakemake(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
        """Run the workflow; with ``check`` a failure shows what was printed."""
        # Its jobs use the `python` of this environment.
        done = subprocess.run(
            [warm.interpreter(), *self.command(*arguments)[1:]],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if check and done.returncode:
            raise AssertionError(f"snakemake failed:\n{done.stdout}\n{done.stderr}")
        return done

    def planned(self, *arguments: str) -> dict[str, int]:
        """Number of jobs of each rule that a dry run plans."""
        done = self.snakemake("--dry-run", *arguments)
        text = done.stdout + done.stderr
        if "Nothing to be done" in text:
            return {}
        table = re.search(r"^job +count\n-[- ]+\n(.*?)^total", text, re.M | re.S)
        assert table, text
        rows = (line.split() for line in table[1].strip().splitlines())
        return {name: int(count) for name, count in rows}

    def python(self, *arguments: str) -> subprocess.CompletedProcess:
        """Run Python in the project, as jobs do."""
        return subprocess.run(
            [warm.interpreter(), *arguments],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    def results(self) -> dict[str, bytes]:
        """Bytes of every result that must not depend on the day, the machine or an accident."""
        base = self.folder / "results"
        return {
            str(path.relative_to(base)): path.read_bytes()
            for path in sorted(base.rglob("*"))
            if path.is_file()
            and path.name != "run.json"
            and path.suffix not in (".done", ".made")  # they name the code
            and not VOLATILE & set(path.relative_to(base).parts)
        }


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


def without_gpus() -> dict[str, str]:
    """The variable by which `conftest.py` keeps programs from GPUs, for those with an environment
    of their own."""
    return {k: v for k, v in os.environ.items() if k == "CUDA_VISIBLE_DEVICES"}
