"""Compares BatchTopK's selection on a GPU with ``topk`` of the whole batch, in plain PyTorch.

    python benchmarks/batch_top.py                          # on the CPU, whose kernels are others
    python benchmarks/batch_top.py --device cuda --batch 16384

Both find the same elements. They are timed in turns within one run, because machines are shared:
look at the ratio.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from saev.sae.kernels import gpu


def whole(pre: Tensor, m: int) -> Tensor:
    """Sum of the m largest, which stands for what `topk` finds."""
    return pre.flatten().topk(m, sorted=False).values.sum()


def in_groups(pre: Tensor, m: int) -> Tensor:
    """The same by the selection of a training step, with its codes."""
    return gpu.largest_of_all(pre, m)[2].sum()


def seconds(find: Callable[[Tensor, int], Tensor], pre: Tensor, m: int) -> tuple[float, float]:
    """Time of one call, of the CPU's processor where it computes; and what was found."""
    clock = time.process_time if pre.is_cpu else time.perf_counter
    start = clock()
    found = float(find(pre, m))  # waits for a GPU
    return clock() - start, found


def main() -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--latents", type=int, default=65_536)
    parser.add_argument("--k", type=int, default=64)
    parser.add_argument("--turns", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator(given.device).manual_seed(0)
    pre = torch.randn(given.batch, given.latents, generator=generator, device=given.device)
    m, ratios, taken = given.batch * given.k, [], []
    if pre.numel() < gpu.MANY:
        sys.exit(f"a step looks for groups from {gpu.MANY:,} elements on: raise --batch")
    for turn in range(given.turns + 1):
        (before, one), (after, other) = seconds(whole, pre, m), seconds(in_groups, pre, m)
        assert abs(one - other) <= 1e-5 * one, (one, other)
        if turn:  # the first warms up
            ratios.append(after / before)
            taken.append((before, after))
    before, after = (statistics.median(part) for part in zip(*taken, strict=True))
    print(f"b={given.batch:,} n={given.latents:,} k={given.k}, {given.device}, 1 thread")
    print(f"topk of all {before:.4f} s, in groups {after:.4f} s, ratio {min(ratios):.2f} to "
          f"{max(ratios):.2f}, median {statistics.median(ratios):.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
