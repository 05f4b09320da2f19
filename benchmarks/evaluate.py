"""Measures how long the dearer metrics of an evaluation take.

    python benchmarks/evaluate.py            probing, masks beside an analysis, and the matching
    python benchmarks/evaluate.py --memory   peak memory of masks at N, 2N and 4N images

The first two are of the demo's size: 1,161 images of 49 patches, 2,048 latents of which 16 fire, 82
classes of images, 26 of masks. Seconds are of the clock and of the processors: on a machine with
other work, compare the latter. The matching is that of `stability` with as many latents as it
matches exactly.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

# Uses the tests' code that makes activations and dictionaries.
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from analysed import TOPK, Case, write_images
from evaluated import OFF, folders

from saev.core.provenance import peak_memory
from saev.evaluate import masks, probing, stability
from saev.evaluate.classes import classes_of
from saev.evaluate.firing import look
from saev.evaluate.mask_counts import choose
from saev.evaluate.measure import Evaluator
from saev.evaluate.neighbours import random_rows
from saev.evaluate.opened import open_all
from saev.settings.evaluation import EvaluationSettings, MaskSettings

D, SIDE = 768, 7
N_IMAGES, N_LATENTS, K = 1161, 2048, 16
N_CLASSES, N_MASKS = 82, 26


def make(folder: Path, n_images: int) -> Case:
    """Write images whose patches have the direction of the class that their mask has there."""
    rng = np.random.default_rng(0)
    of_patch = rng.integers(0, N_MASKS + 1, (n_images, SIDE * SIDE)).astype(np.uint8)
    of_image = np.arange(n_images) % N_CLASSES
    directions = rng.standard_normal((N_MASKS + 1 + N_CLASSES, D), np.float32)
    values = directions[of_patch] + directions[N_MASKS + 1 + of_image][:, None]
    values += rng.standard_normal(values.shape, np.float32)
    write_images(folder, [f"{i:07}.jpg" for i in range(n_images)])
    (folder / "masks").mkdir()
    for i, classes in enumerate(of_patch):
        pixels = np.kron(classes.reshape(SIDE, SIDE), np.ones((16, 16), np.uint8))
        Image.fromarray(pixels).save(folder / "masks" / f"{i:07}.png")
    sae = {**TOPK, "n_latents": N_LATENTS, "k": K, "held_out": 0.1}
    labels = {"kind": [f"c{c}" for c in of_image], "wide": [f"w{c % 9}" for c in of_image]}
    return Case(folder, values, labels, sae=sae, top_images=16, dtype="float16")


def evaluator_of(case: Case, scratch: Path) -> Evaluator:
    """What gives metrics their inputs."""
    scratch.mkdir()
    opened = open_all(folders(case), torch.device("cpu"))
    return Evaluator(opened, EvaluationSettings(**OFF), scratch)


def mask_settings(case: Case) -> MaskSettings:
    """The masks that `make` has drawn."""
    classes = {f"m{value}": value for value in range(1, N_MASKS + 1)}
    return MaskSettings(folder=str(case.activations.parent / "masks"), classes=classes)


def timed(what: str, work: Callable[[], object]) -> None:
    """Say how long ``work`` takes."""
    clock, processors = time.perf_counter(), time.process_time()
    work()
    clock, processors = time.perf_counter() - clock, time.process_time() - processors
    print(f"{what:52} {clock:8.1f} s   {processors:8.1f} s of processors", flush=True)


def find(evaluator: Evaluator, case: Case, workers: int) -> masks.MaskCounts:
    """One pass that counts what the latents find, and the choice of the best."""
    inputs = evaluator.opened.inputs
    found = masks.finding(inputs, mask_settings(case), 0, evaluator.scratch, workers)
    look(inputs, [found])
    choose(found)
    return found


def speed(workers: int) -> None:
    """Print the seconds of each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        case = make(folder, N_IMAGES)
        timed("analysis", case.analyse)
        evaluator = evaluator_of(case, folder / "scratch")
        inputs, pca, l0 = evaluator.opened.inputs, evaluator._pca, evaluator._l0
        classes = classes_of(inputs, "kind", 0)
        timed(
            f"probing, {N_LATENTS:,} latents × {len(classes.names)} classes, and baselines",
            lambda: probing.measure(inputs, "kind", classes, pca, l0, 0, evaluator.scratch),
        )
        found = []
        timed(
            f"masks, {N_LATENTS:,} latents × {N_MASKS} classes",
            lambda: found.append(find(evaluator, case, workers)),
        )
        vectors = evaluator._sample
        timed(
            "masks, their four baselines",
            lambda: masks.measure(found[0], inputs, pca, vectors, l0, 0, evaluator.scratch),
        )
    ours, theirs = (random_rows(stability.EXACT, D, 0, draw) for draw in (1, 2))
    timed(
        f"matching of {stability.EXACT:,} random latents",
        lambda: stability.match_exactly(ours, theirs),
    )
    mixed = torch.nn.functional.normalize(ours + 0.7 * theirs, dim=1)
    timed(
        f"matching of {stability.EXACT:,} similar latents",
        lambda: stability.match_exactly(ours, mixed[torch.randperm(len(mixed))]),
    )


def memory(workers: int) -> None:
    """Print the peak memory of masks at N, 2N and 4N images."""
    for factor in (1, 2, 4):
        with tempfile.TemporaryDirectory() as folder:
            for step in ("make", "find"):
                command = [sys.executable, __file__, "--step", step, "--folder", folder]
                command += ["--images", str(N_IMAGES * factor), "--threads", str(workers)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
        print(f"{N_IMAGES * factor:6,} images: {done.stdout.strip()}", flush=True)


def one_step(step: str, folder: Path, n_images: int, workers: int) -> None:
    """Make the data; or count what latents find of masks, and print this process' peak memory."""
    if step == "make":
        make(folder, n_images).analyse()
        return
    case = Case.made(folder)
    find(evaluator_of(case, folder / "scratch"), case, workers)
    print(f"peak {peak_memory() / 2**20:,.0f} MiB")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--step", choices=("make", "find"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--images", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.step:
        one_step(given.step, given.folder, given.images, given.threads)
    elif given.memory:
        memory(given.threads)
    else:
        speed(given.threads)


if __name__ == "__main__":
    main()
