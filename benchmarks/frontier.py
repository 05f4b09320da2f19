"""Compares L0 and reconstruction error of every architecture, and of the TopK of other libraries.

    snakemake --cores all activations                     # records the demo's activations
    python benchmarks/frontier.py                         # our architectures
    python benchmarks/frontier.py --peers                 # also the peers that are installed

All train on the same vectors of the demo (patches of block 11, each dimension scaled to mean 0 and
deviation 1), in the same order, for the same number of examples, with Adam at the same rate. nmse
is measured on a sample of these vectors and on held-out images. Writes
benchmarks/out/frontier.json, and prints a table.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import peers
from saev import sae as saes
from saev.activations.artifact import Activations
from saev.core.spec import parsed
from saev.settings.sae import AnySaeSettings
from saev.train import loader
from saev.train.split import split_images
from saev.train.trainer import Trainer

OUT = Path(__file__).parent / "out" / "frontier.json"
N, BATCH, LR, SAMPLE = 2048, 1024, 1e-3, 8192
LEVELS = (16, 32, 64, 128, 256)
AUX = {"aux_k": 256, "aux_coefficient": 1 / 32, "dead_after": 50_000}
# L1 weights that give about these levels of L0, found by trial.
L1 = {16: 0.0125, 32: 0.0078, 64: 0.0056, 128: 0.0038, 256: 0.0021}
Reconstruct = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def settings_of(level: int) -> dict[str, dict[str, Any]]:
    """Settings of each architecture that aim at ``level`` active latents."""
    k = {"k": level, **AUX}
    jump = {"sparsity": 1.0, "l0_target": level, "bandwidth": 0.5, "initial_threshold": "data"}
    return {
        "topk": k,
        "batchtopk": k,
        "matryoshka": {**k, "widths": [256, 512, 1024, N]},
        "archetypal": {**k, "n_points": 1024},
        "jumprelu": {**jump, "threshold_rate": 30.0, **AUX},
        "relu": {"l1": L1[level], **AUX},
    }


def vectors(folder: Path, layer: int) -> tuple[np.ndarray, np.ndarray]:
    """Training and held-out vectors (n, d) float32.

    Each dimension has mean 0 and deviation 1 over the training vectors.
    """
    activations = Activations(folder)
    stream = activations.stream(layer, "patches")
    split = split_images(activations, 0.1, 0)
    parts = [
        activations.float32(activations.take(stream, rows)).reshape(-1, stream.d)
        for rows in (split.training, split.held_out)
    ]
    mean, std = parts[0].mean(0, dtype=np.float64), parts[0].std(0, dtype=np.float64)
    train, held_out = (((part - mean) / std).astype(np.float32) for part in parts)
    return train, held_out


def batches(x: np.ndarray, n_steps: int):
    """The batches, which are the same for all dictionaries."""
    order, epoch = np.empty(0, np.int64), 0
    for _ in range(n_steps):
        while len(order) < BATCH:
            fresh = np.random.default_rng([0, epoch]).permutation(len(x))
            order, epoch = np.concatenate([order, fresh]), epoch + 1
        yield x[order[:BATCH]]
        order = order[BATCH:]


@torch.no_grad()
def quality(x: np.ndarray, reconstruct: Reconstruct) -> dict[str, float]:
    """nmse about the mean, and L0."""
    error, active = 0.0, 0
    for start in range(0, len(x), BATCH):
        u = torch.from_numpy(x[start : start + BATCH])
        xh, l0 = reconstruct(u)
        error += float((u - xh).double().square().sum())
        active += int(l0.sum())
    spread = float(np.square(x - x.mean(0, dtype=np.float64)).sum())
    return {"nmse": error / spread, "l0": active / len(x)}


def ours(name: str, own: dict[str, Any], x: np.ndarray, n_steps: int) -> Reconstruct:
    """Train a dictionary of this project."""
    training = {"tokens": "pooled", "n_latents": N, "batch_size": BATCH, "epochs": 1.0, "lr": LR}
    settings = parsed(AnySaeSettings, {**training, "warmup_steps": 20, "architecture": name, **own})
    sae = saes.build(settings, x.shape[1], torch.Generator().manual_seed(0))
    sae.start(lambda at_most, use: torch.from_numpy(x[loader.sample(len(x), at_most, [0, use])]))
    trainer = Trainer(sae, n_steps=n_steps, mean=np.zeros(x.shape[1]))
    for batch in batches(x, n_steps):
        trainer.train(batch)
    sae.eval()

    def reconstruct(u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        z = sae.encode(u)
        return sae.decode(z), (z != 0).sum(dim=1)

    return reconstruct


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--activations", type=Path, help="default: the first under results/")
    parser.add_argument("--layer", type=int, default=11)
    parser.add_argument("--examples", type=int, default=300_000)
    parser.add_argument("--peers", action="store_true", help="train the peers installed here too")
    parser.add_argument("--only", nargs="*", help="architectures")
    parser.add_argument("--levels", nargs="*", type=int, default=LEVELS)
    args = parser.parse_args()
    folder = args.activations or next(Path("results").glob("*/clip-b16-*/meta.json")).parent
    train, held_out = vectors(folder, args.layer)
    sample = train[np.random.default_rng(1).choice(len(train), SAMPLE, replace=False)]
    n_steps = args.examples // BATCH
    print(
        f"{len(train):,} vectors, {len(held_out):,} held out, {n_steps * BATCH:,} examples, n={N}"
    )
    OUT.parent.mkdir(exist_ok=True)
    found = json.loads(OUT.read_text()) if OUT.exists() else []
    for level in args.levels:
        runs: dict[str, Callable[[], Reconstruct]] = {
            name: partial(ours, name, own, train, n_steps)
            for name, own in settings_of(level).items()
            if not args.only or name in args.only
        }
        if args.peers:
            runs |= {
                peer.name: partial(peers.trained, peer, batches(train, n_steps))
                for peer in peers.installed(train.shape[1], N, level, LR)
            }
        for name, run in runs.items():
            start = time.perf_counter()
            reconstruct = run()
            line = {
                "name": name,
                "level": level,
                "seconds": round(time.perf_counter() - start, 1),
                "training": quality(sample, reconstruct),
                "held_out": quality(held_out, reconstruct),
            }
            found = [f for f in found if (f["name"], f["level"]) != (name, level)] + [line]
            OUT.write_text(json.dumps(found, indent=1))
            t, h = line["training"], line["held_out"]
            print(
                f"{name:24} {level:4}  L0 {h['l0']:6.1f}  nmse {t['nmse']:.3f} trained on, "
                f"{h['nmse']:.3f} held out  {line['seconds']:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
