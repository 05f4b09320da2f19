"""Measures the speed of the analysis against the encoder's product alone, and its memory.

    python benchmarks/analyze.py            vectors per second: ours, the product, their ratio
    python benchmarks/analyze.py --memory   peak memory at N, 2N and 4N images, each in a process

"Ours" is a whole part: reading shards (from the page cache), comparing their SHA-256, encoding,
selecting, decoding, all sums, top images, label counts, and writing. The product is ``x @ W_enc``
in float32, on rows in memory, in batches of the same size. Both take turns, so that other load on
the machine affects both.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

# Uses the tests' code that makes activations and dictionaries.
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from analysed import TOPK, Case

from saev.analyze.accumulate import BATCH_VECTORS
from saev.core.provenance import peak_memory
from saev.settings.analysis import AnalysisSettings
from saev.settings.labels import LabelSettings

D, PATCHES = 768, 49


def make(folder: Path, n_images: int, n_latents: int, k: int) -> Case:
    """Write ``n_images`` images of ``PATCHES`` float16 vectors. Each image has a few directions."""
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((2048, D)).astype(np.float32)
    values = np.empty((n_images, PATCHES, D), np.float16)
    for image in range(n_images):
        theme = rng.integers(0, 2048, 8)
        codes = rng.random((PATCHES, 8), np.float32) + rng.random((1, 8), np.float32)
        noise = rng.standard_normal((PATCHES, D), np.float32)
        values[image] = codes @ directions[theme] * 0.5 + noise
    sae = {**TOPK, "n_latents": n_latents, "k": k}
    labels = {"kind": [f"c{i % 50}" for i in range(n_images)]}
    return Case(folder, values, labels, sae=sae, top_images=16, dtype="float16")


def ours(case: Case) -> float:
    """How many seconds one part with all images takes."""
    shutil.rmtree(case.out / "parts", ignore_errors=True)
    shutil.rmtree(case.out / "scratch-0", ignore_errors=True)
    start = time.perf_counter()
    case.part(0, 1 << 16)
    return time.perf_counter() - start


def product(x: torch.Tensor, weight: torch.Tensor) -> float:
    """How many seconds the encoder's product alone takes."""
    out = torch.empty(BATCH_VECTORS, weight.shape[1])
    start = time.perf_counter()
    for first in range(0, len(x), BATCH_VECTORS):
        piece = x[first : first + BATCH_VECTORS]
        torch.mm(piece, weight, out=out[: len(piece)])
    return time.perf_counter() - start


def speed(n_images: int, n_latents: int, k: int, repeats: int) -> None:
    """Print ours, the product and their ratio, as medians over ``repeats`` turns."""
    with tempfile.TemporaryDirectory() as folder:
        case = make(Path(folder), n_images, n_latents, k)
        x = torch.from_numpy(case.values.reshape(-1, D).astype(np.float32))
        weight = case.open().sae.W_enc.data.contiguous()
        turns = [(ours(case), product(x, weight)) for _ in range(repeats + 1)][1:]
    a, b = (len(x) / statistics.median(t) for t in zip(*turns, strict=True))
    ratio = statistics.median(p / o for o, p in turns)
    print(f"\nn={n_latents} d={D} k={k}, {len(x):,} vectors, {torch.get_num_threads()} threads")
    print(f"  analysis          {a:10,.0f} vectors/s")
    print(f"  encoder product   {b:10,.0f} vectors/s")
    print(f"  ratio             {ratio:10.2f}")


def memory(n_images: int, n_latents: int, k: int) -> None:
    """Print the peak memory of a part of N, 2N and 4N images."""
    for factor in (1, 2, 4):
        n = n_images * factor
        with tempfile.TemporaryDirectory() as folder:
            for step in ("make", "part"):
                command = [sys.executable, __file__, "--step", step, "--folder", folder]
                command += ["--images", str(n), "--latents", str(n_latents), "--k", str(k)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
        print(f"{n:6,} images ({n * PATCHES:9,} vectors): {done.stdout.strip()}", flush=True)


def one_step(step: str, folder: Path, n_images: int, n_latents: int, k: int) -> None:
    """Make the data; or analyse it and print this process' peak memory, without mapped files."""
    if step == "make":
        make(folder, n_images, n_latents, k)
        return
    case = Case.made(folder)
    case.settings = AnalysisSettings(labels={"kind": LabelSettings(folder=True)}, top_images=16)
    case.part(0, 1 << 16)
    print(f"peak {peak_memory() / 2**20:,.0f} MiB")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--images", type=int, default=8192)
    parser.add_argument("--latents", type=int, default=6144)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--step", choices=("make", "part"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.step:
        one_step(given.step, given.folder, given.images, given.latents, given.k)
    elif given.memory:
        memory(given.images, given.latents, given.k)
    else:
        speed(given.images, given.latents, given.k, given.repeats)


if __name__ == "__main__":
    main()
