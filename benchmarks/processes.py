"""Times a training step of one process, and of several that divide the latents, in turns.

    python -m benchmarks.processes                           # d=768, n=16,384, k=32, batch 2,048
    python -m benchmarks.processes --processes 8 --device cuda --large   # d=1,024, n=65,536

On a CPU, the processes have as many threads together as the one has. Look at the ratio.
"""

import argparse
import statistics
import sys
import time

import numpy as np
import torch

from saev import sae as saes
from saev.core.spec import parsed
from saev.settings.sae import AnySaeSettings
from saev.train import parallel
from saev.train.parallel import ALONE, Processes
from saev.train.trainer import Trainer

SMALL = {"d": 768, "n_latents": 16_384, "k": 32, "batch_size": 2048}
LARGE = {"d": 1024, "n_latents": 65_536, "k": 64, "batch_size": 16_384}


def trainer(sizes: dict[str, int], device: torch.device, processes: Processes) -> Trainer:
    """A TopK dictionary at its first step."""
    settings = {"architecture": "topk", "tokens": "pooled", "epochs": 1.0, "lr": 1e-4}
    given = parsed(
        AnySaeSettings,
        settings | {"dead_after": 10**9} | {key: v for key, v in sizes.items() if key != "d"},
    )
    sae = saes.build(given, sizes["d"], torch.Generator().manual_seed(0))
    return Trainer(sae.to(device), n_steps=1000, mean=np.zeros(sizes["d"]), processes=processes)


def seconds(train: Trainer, x: np.ndarray, steps: int) -> float:
    """Of one step, the mean of several, until the device has done them."""
    started = time.perf_counter()
    for _ in range(steps):
        train.train(x)
    float(train.sae.b_dec.detach().sum())
    return (time.perf_counter() - started) / steps


def main() -> None:
    """Time them in turns: the first process alone, then all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--large", action="store_true", help="d=1,024, n=65,536, batch 16,384")
    parser.add_argument("--threads", type=int, default=2, help="of all processes together")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="in a turn")
    args = parser.parse_args()
    device = torch.device(args.device)
    if not parallel.started():
        parallel.launch(args.processes, "benchmarks.processes", sys.argv[1:], device)
    processes = parallel.join(args.processes, device)
    sizes = LARGE if args.large else SMALL
    x = np.random.default_rng(0).standard_normal((sizes["batch_size"], sizes["d"]), np.float32)
    low, high = processes.share(len(x))
    together = trainer(sizes, device, processes)
    alone = trainer(sizes, device, ALONE) if processes.first else None
    times: dict[str, list[float]] = {"one": [], "several": []}
    for turn in range(args.turns + 1):
        torch.set_num_threads(args.threads)
        one = seconds(alone, x, args.steps) if alone else 0.0
        processes.agree(True, device)  # others wait for the first
        torch.set_num_threads(max(1, args.threads // processes.size))
        several = seconds(together, x[low:high], args.steps)
        if turn:  # the first compiles
            times["one"].append(one)
            times["several"].append(several)
    if processes.first:
        one, several = (1000 * statistics.median(found) for found in times.values())
        print(f"one process {one:.0f} ms, {processes.size} processes {several:.0f} ms a step")
        print(f"several over one {several / one:.2f}")


if __name__ == "__main__":
    main()
