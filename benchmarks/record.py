"""Compares the speed of recording, including decoding, with the tower's forward pass alone.

``python benchmarks/record.py`` records JPEGs of 500 × 375. In turns with that, it runs the same
tower, cut off at the same block, in the same batches, on inputs in memory. ``--null`` records from
a tower that computes nothing, so its rate is the most that the processors of this machine allow,
whatever the GPU. ``--memory`` records N, 2 N and 4 N images with a tiny tower and prints the peak
memory of each.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageFilter

from saev.activations.loading import BATCH, batches
from saev.activations.recording import record_blocks
from saev.activations.shards import ShardState
from saev.activations.towers.tower import Tower, load_tower, normalise
from saev.core.machine import set_threads, torch_device
from saev.core.progress import Progress
from saev.images import __main__ as images
from saev.images.artifact import Images
from saev.settings.vit import VitSettings

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
}


def make_images(folder: Path, n: int, size: tuple[int, int] = (500, 375)) -> None:
    """Write ``n`` JPEGs with coarse and fine texture, with file sizes like those of photographs."""
    folder.mkdir(parents=True)
    for i in range(n):
        rng = np.random.default_rng(i)
        coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        grain = rng.normal(0, 12, (size[1], size[0], 1))
        pixels = np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8)
        image = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(0.6))
        image.save(folder / f"{i:06}.jpg", quality=90)


def list_images(folder: Path, out: Path) -> Images:
    """Run the `images` stage."""
    spec = json.dumps({"settings": {"folder": str(folder)}})
    images.main(["--spec", spec, "--out", str(out)])
    return Images(out)


class Seconds(NamedTuple):
    """What a pass took."""

    wall: float
    cpu: float
    """Processor time of all threads. More reliable on a machine that others use too."""

    @staticmethod
    def now() -> "Seconds":
        """The clocks."""
        return Seconds(time.perf_counter(), time.process_time())

    def since(self) -> "Seconds":
        """The time that has passed."""
        now = Seconds.now()
        return Seconds(now.wall - self.wall, now.cpu - self.cpu)


def time_bare(tower: Tower, batches: list[torch.Tensor]) -> Seconds:
    """The forward pass alone."""
    synchronise(tower)
    start = Seconds.now()
    for batch in batches:
        tower.forward(batch)
    synchronise(tower)
    return start.since()


def time_ours(
    tower: Tower,
    listed: Images,
    settings: VitSettings,
    workers: int,
    threads: int,
    folder: Path,
) -> Seconds:
    """Recording, from image files to finished files of activations."""
    (folder / "state").mkdir(parents=True)
    start = Seconds.now()
    n = listed.n_images
    state = ShardState(folder / "state", folder, 0, tower.streams, np.dtype(settings.dtype), n)
    progress = Progress(n, "images", "recording")
    record_blocks(state, tower, listed, (0, n), settings, workers, threads, "error", progress)
    state.finish()
    return start.since()


def synchronise(tower: Tower) -> None:
    """Wait for the GPU, if there is one."""
    if tower.device.type == "cuda":
        torch.cuda.synchronize()


def measure_speed(arguments: argparse.Namespace, folder: Path) -> float:
    """Print ours, the limit and the ratio of each round; return the median ratio."""
    set_threads(arguments.threads)
    settings = VitSettings(
        model=arguments.model,
        weights="random",
        layers=(arguments.layer,),
        tokens=("cls", "patches"),
    )
    tower = load_tower(settings, torch_device(arguments.device))
    print(tower.describe())
    make_images(folder / "images", arguments.images)
    listed = list_images(folder / "images", folder / "p-1")
    side = tower.geometry.image_size
    noise = np.random.default_rng(0).integers(0, 256, (BATCH, side, side, 3), dtype=np.uint8)
    batch = normalise(torch.from_numpy(noise).to(tower.device), tower.geometry)
    inputs = [batch] * -(-arguments.images // BATCH)
    time_bare(tower, inputs[:1])
    ratios = []
    for number in range(arguments.rounds):
        # Time the bare pass before and after ours, so that a drift of the machine favours neither.
        before = time_bare(tower, inputs)
        threads = arguments.workers, arguments.threads
        ours = time_ours(tower, listed, settings, *threads, folder / f"round-{number}")
        after = time_bare(tower, inputs)
        bare = (before.wall + after.wall) / 2
        ratios.append(bare / ours.wall)
        print(
            f"round {number + 1}: recording {arguments.images / ours.wall:.2f} images/s · "
            f"bare forward {arguments.images / bare:.2f} images/s · ratio {ratios[-1]:.3f} "
            f"(by processor time {(before.cpu + after.cpu) / 2 / ours.cpu:.3f})",
            flush=True,
        )
    return statistics.median(ratios)


class Null(Tower):
    """Gives the same activations for every batch, at no cost."""

    def __call__(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        return NULL


NULL: dict[str, torch.Tensor] = {}


def measure_host(arguments: argparse.Namespace, folder: Path) -> None:
    """Print how fast this machine decodes, and how fast it does all but the tower."""
    settings = VitSettings(
        model="timm/vit_large_patch14_clip_224",
        weights="random",
        layers=(0,),
        tokens=("cls", "patches"),
    )
    tower = load_tower(settings)
    null = Null(tower.model, tower.backbone, tower.layers, tower.streams, tower.device)
    numbers = torch.Generator().manual_seed(0)
    for stream in tower.streams:
        shape = (stream.n_patches, stream.d) if stream.kind == "patches" else (stream.d,)
        NULL[stream.name] = torch.randn(BATCH, *shape, generator=numbers)
    make_images(folder / "images", arguments.images)
    listed = list_images(folder / "images", folder / "p-1")
    threads = arguments.workers, arguments.threads
    for number in range(arguments.rounds):
        start = Seconds.now()
        for _ in batches(listed, 0, listed.n_images, tower.geometry, arguments.workers):
            pass
        decoding = start.since()
        ours = time_ours(null, listed, settings, *threads, folder / f"round-{number}")
        print(
            f"round {number + 1}: decoding alone {arguments.images / decoding.wall:.0f} images/s "
            f"({1e3 * decoding.cpu / arguments.images:.1f} ms of processor time each) · all but "
            f"the tower {arguments.images / ours.wall:.0f} images/s "
            f"({1e3 * ours.cpu / arguments.images:.1f} ms)",
            flush=True,
        )


def measure_memory(arguments: argparse.Namespace, folder: Path) -> float:
    """Print the peak memory for N, 2 N and 4 N images.

    Return the ratio of the last to the first.
    """
    (folder / "tiny.json").write_text(json.dumps(TINY))
    shard = 1024
    settings = {
        "model": str(folder / "tiny.json"),
        "weights": "random",
        "layers": [0, 1],
        "tokens": ["cls", "patches", "pooled"],
        "shard_images": shard,
    }
    peaks = []
    for n in (arguments.images, 2 * arguments.images, 4 * arguments.images):
        make_images(folder / f"images-{n}", n, (200, 150))
        listed = list_images(folder / f"images-{n}", folder / f"p-{n}")
        common = [
            *("--spec", json.dumps({"settings": settings}), "--images", str(listed.path)),
            *("--out", str(listed.path / "v-1"), "--threads", str(arguments.threads)),
        ]
        program = [sys.executable, "-m", "saev.activations"]
        for i in range(-(-n // shard)):
            subprocess.run([*program, "record", *common, "--shard", str(i)], check=True)
        subprocess.run([*program, "seal", *common], check=True)
        run = json.loads((listed.path / "v-1" / "run.json").read_bytes())
        peaks.append(run["recording_peak_memory_bytes"])
        print(
            f"{n:,} images: recording {peaks[-1] / 1e6:,.0f} MB, "
            f"sealing {run['peak_memory_bytes'] / 1e6:,.0f} MB"
        )
    return peaks[-1] / peaks[0]


def main() -> None:
    """Measure what the arguments say. Exit with status 1 if the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="ViT-B-16")
    parser.add_argument("--layer", type=int, default=-1)
    parser.add_argument(
        "--images", type=int, help="number of images (default: 96; with --memory or --null 1024)"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--memory", action="store_true", help="measure memory instead")
    parser.add_argument("--null", action="store_true", help="measure the host alone instead")
    arguments = parser.parse_args()
    arguments.images = arguments.images or (1024 if arguments.memory or arguments.null else 96)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.null:
            return measure_host(arguments, Path(folder))
        if arguments.memory:
            growth = measure_memory(arguments, Path(folder))
            print(f"peak memory at 4 N / at N: {growth:.3f} (target ≤ 1.05)")
            raise SystemExit(growth > 1.05)
        ratio = measure_speed(arguments, Path(folder))
        print(f"median ratio {ratio:.3f} (target ≥ 0.95)")
        raise SystemExit(ratio < 0.95)


if __name__ == "__main__":
    main()
