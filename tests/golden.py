"""Golden artifacts of every stage: `python tests/golden.py` makes those of `tests/golden/` anew.

Do that when a change is meant to change results, and say so in the commit.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from project import SAE, Project, config  # noqa: E402

GOLDEN = Path(__file__).parent / "golden"
N_IMAGES = 60
ANY_PROCESSOR = {
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
    "NUMBA_CPU_NAME": "generic",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
}
"""Lets libraries compute as on any x86-64 processor: the last bits depend on its instructions."""
PAGES = ("index.html", "summary.json")
"""The digest counts templates and scripts byte by byte, and they change often."""
PLOTS = (".png",)
"""How they look is no result."""


def settings() -> dict:
    """A tiny project that goes through every stage."""
    given = config()
    given["vit"]["tiny"]["layers"] = [1]
    small = {**SAE, "n_latents": 24, "aux_k": 4, "dead_after": 60, "batch_size": 32}
    given["sae"] = {
        "cls": {**small, "tokens": "cls", "epochs": 10},
        "patches": {**small, "architecture": "batchtopk", "tokens": "patches", "epochs": 1},
    }
    given["analysis"]["named"]["top_images"] = 4
    given["references"] = {"old": {"curve": "old.jsonl", "tolerance": {"nmse": 10.0}}}
    given["runs"][0]["reference"] = "old"
    given["evaluation"] = {
        "most": {"coactivation": True, "probing": ["animal"], "monosemanticity": "layer-01.cls"}
    }
    given["runs"][1]["evaluation"] = "most"
    return given


def make(folder: Path) -> dict[str, bytes]:
    """Run every stage in ``folder``; return the bytes that must not change, by path."""
    project = Project.create(folder, n_images=N_IMAGES)
    lines = (f'{{"step": {step}, "nmse": 0.5}}\n' for step in range(5, 20, 5))
    (folder / "old.jsonl").write_text("".join(lines))
    project.configure(settings())
    project.snakemake("gallery", "compare")
    return {name: data for name, data in project.results().items() if _is_golden(Path(name))}


def kept() -> dict[str, bytes]:
    """The golden bytes, by path."""
    files = (path for path in sorted(GOLDEN.rglob("*")) if path.is_file())
    return {path.relative_to(GOLDEN).as_posix(): path.read_bytes() for path in files}


def _is_golden(path: Path) -> bool:
    large = "large" in path.parts  # the images are small, so these are the thumbnails
    return path.name not in PAGES and path.suffix not in PLOTS and not large


if __name__ == "__main__":
    os.environ |= ANY_PROCESSOR
    with tempfile.TemporaryDirectory() as base:
        made = make(Path(base) / "project")
    shutil.rmtree(GOLDEN, ignore_errors=True)
    for name, data in made.items():
        path = GOLDEN / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    print(f"{len(made)} files, {sum(map(len, made.values())):,} bytes")
