"""Measures how long the dearer metrics of an evaluation take.

    python benchmarks/evaluate.py            probing, masks beside an analysis, and the matching
    python benchmarks/evaluate.py --memory   peak memory of each metric at N, 2N, 4N and 8N images

The first two are of the demo's size: 1,161 images of 49 patches, 2,048 latents of which 16 fire, 82
classes of images, 26 of masks. Seconds are of the clock and of the processors: on a machine with
other work, compare the latter. The matching is that of `stability` with as many latents as it
matches exactly.

Memory is measured with smaller dictionaries and a tiny tower, so that what grows with the images
isn't hidden by what doesn't. It is that of the process alone (anonymous pages): files that are
mapped don't count, as the system can take their pages back. Each metric has a process of its own.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

# Uses the tests' code that makes activations and dictionaries.
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from analysed import TOPK, Case, write_images, write_labels, write_sae
from evaluated import OFF, folders
from recording import list_images, record, settings, write_pictures

from saev.analyze.neighbours import random_rows
from saev.evaluate import masks, probing, stability
from saev.evaluate.classes import classes_of
from saev.evaluate.firing import look
from saev.evaluate.mask_counts import choose
from saev.evaluate.measure import Evaluator
from saev.evaluate.opened import open_all
from saev.labels.artifact import labels_folder
from saev.settings.analysis import AnalysisSettings
from saev.settings.evaluation import EvaluationSettings, MaskSettings
from saev.settings.labels import LabelSettings

D, SIDE = 768, 7
N_IMAGES, N_LATENTS, K = 1161, 2048, 16
N_CLASSES, N_MASKS = 82, 26
FEWEST_IMAGES, SMALL_D, SMALL_LATENTS = 1024, 64, 512
METRICS: dict[str, dict[str, Any]] = {
    "none": {},
    "probing": {"probing": ("kind",)},
    "absorption": {"absorption": {"parent": "wide", "child": "kind"}},
    "monosemanticity": {"monosemanticity": "pooled"},
    "spatial": {"spatial": True},
    "coactivation": {"coactivation": True},
    "masks": {},
}
TOWER_METRICS = {"downstream": {"downstream": "kind"}, "ablation": {"ablation": "kind"}}


def make(folder: Path, n_images: int, d: int = D, n_latents: int = N_LATENTS) -> Case:
    """Write images whose patches have the direction of the class that their mask has there."""
    rng = np.random.default_rng(0)
    of_patch = rng.integers(0, N_MASKS + 1, (n_images, SIDE * SIDE)).astype(np.uint8)
    of_image = np.arange(n_images) % N_CLASSES
    directions = rng.standard_normal((N_MASKS + 1 + N_CLASSES, d), np.float32)
    values = directions[of_patch] + directions[N_MASKS + 1 + of_image][:, None]
    values += rng.standard_normal(values.shape, np.float32)
    write_images(folder, [f"{i:07}.jpg" for i in range(n_images)])
    (folder / "masks").mkdir()
    for i, classes in enumerate(of_patch):
        pixels = np.kron(classes.reshape(SIDE, SIDE), np.ones((16, 16), np.uint8))
        Image.fromarray(pixels).save(folder / "masks" / f"{i:07}.png")
    sae = {**TOPK, "n_latents": n_latents, "k": K, "held_out": 0.1}
    labels = {"kind": [f"c{c}" for c in of_image], "wide": [f"w{c % 9}" for c in of_image]}
    more = {"pooled": values.mean(1)}
    given = {"sae": sae, "top_images": 16, "dtype": "float16", "more": more}
    return Case(folder, values, labels, **given)


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
        shared = evaluator.shared
        inputs, pca, l0 = shared.inputs, shared.pca, shared.l0
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
        vectors = shared.sample
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
    """Print the peak memory of each metric at N, 2N, 4N and 8N images."""
    sizes = [FEWEST_IMAGES << i for i in range(4)]
    print("MiB".ljust(52), *(f"{n:7,}" for n in sizes), " images")
    with tempfile.TemporaryDirectory() as folder:
        peaks: dict[str, list[str]] = {}
        for n_images in sizes:
            for made, metrics in ((make_small, METRICS), (make_towers, TOWER_METRICS)):
                at = Path(folder, f"{made.__name__}-{n_images}")
                _step(at, made.__name__, n_images, workers)
                for metric in metrics:
                    peak = _step(at, metric, n_images, workers).splitlines()[-1]
                    peaks.setdefault(metric, []).append(peak)
        for metric, found in peaks.items():
            print(metric.ljust(52), *(f"{peak:>7}" for peak in found), flush=True)


def _step(folder: Path, step: str, n_images: int, workers: int) -> str:
    command = [sys.executable, __file__, "--step", step, "--folder", str(folder)]
    command += ["--images", str(n_images), "--threads", str(workers)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def make_small(folder: Path, n_images: int) -> None:
    """Write what all metrics need but those that run the tower."""
    make(folder, n_images, SMALL_D, SMALL_LATENTS).analyse()


def make_towers(folder: Path, n_images: int) -> None:
    """Record images with a tiny tower, and analyse a dictionary of its first block."""
    write_pictures(folder / "pictures", n_images)
    listed = list_images(folder / "pictures", folder)
    reader = record(listed, folder / "vit", settings(folder), range(-(-n_images // 256)))
    small = {**TOPK, "k": 8}
    case = Case.__new__(Case)
    case.activations = reader.path
    case.sae = write_sae(reader.path / "sae", reader.path, "layer-00.patches", small)
    case.out, case.values = case.sae / "analysis", np.empty(n_images)
    case.settings = AnalysisSettings(labels={"kind": LabelSettings(folder=True)}, top_images=4)
    case.table = labels_folder(folder, case.settings.essential()["labels"])
    # Images are sorted by folder.
    write_labels(case.table, n_images, {"kind": ["a", "b"] * (n_images // 2)})
    case.analyse()


def one_step(step: str, folder: Path, n_images: int, workers: int) -> None:
    """Make the data; or measure one metric, and print this process' peak memory."""
    if step.startswith("make"):
        {"make_small": make_small, "make_towers": make_towers}[step](folder, n_images)
        return
    case = Case.made(folder)
    asked = {**METRICS, **TOWER_METRICS}[step]
    if step == "masks":
        asked = {"masks": mask_settings(case)}
    scratch = folder / f"scratch-{step}"
    scratch.mkdir()
    opened = open_all(folders(case), torch.device("cpu"))
    given = EvaluationSettings(**{**OFF, **asked})
    evaluator = Evaluator(opened, given, scratch, workers=workers)
    peak, done = [0], threading.Event()
    watching = threading.Thread(target=_watch, args=(peak, done))
    watching.start()
    evaluator.run()
    evaluator.write()
    done.set()
    watching.join()
    print(f"{peak[0] / 2**20:,.0f}")


def _watch(peak: list[int], done: threading.Event) -> None:
    while not done.wait(0.002):
        status = Path("/proc/self/status").read_text()
        peak[0] = max(peak[0], int(status.partition("RssAnon:")[2].split()[0]) * 1024)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--step", help=argparse.SUPPRESS)
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
