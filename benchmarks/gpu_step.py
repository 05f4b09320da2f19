"""Measures a training step of a TopK dictionary on a CUDA device, part by part, against its floor.

    python benchmarks/gpu_step.py --tflops 989 --tflops-float32 67 --bandwidth 3.35

The three numbers are the card's peaks: TFLOP/s of bfloat16 products, TFLOP/s of float32, and TB/s.
Those above are from the data sheet of an H100 SXM. For each part, prints the median time, the
floor, and their ratio; then the same for the whole step. The floor is FLOPs or bytes divided by the
peak, whichever is more; benchmarks/README.md says how they are counted. Exits with status 1 without
a CUDA device.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn.functional import normalize

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from saev.sae.kernels import gpu


class Cost(NamedTuple):
    """The least work that a part must do."""

    products: float = 0
    """FLOPs of dense products in bfloat16."""
    flops: float = 0
    """Other FLOPs, in float32."""
    moved: float = 0
    """Bytes, each read or written once."""


def costs(b: int, d: int, n: int, k: int) -> dict[str, Cost]:
    """The floor of each part; benchmarks/README.md has the formulas."""
    gather, copy = 2 * b * k * d, 6 * n * d
    return {
        "encoder product": Cost(products=2 * b * d * n, moved=copy + 2 * (b * d + d * n + b * n)),
        "top k": Cost(moved=2 * b * n + 12 * b * k),
        "reconstruction": Cost(flops=2 * gather, moved=copy + 4 * n * d + 24 * b * k + 6 * b * d),
        "by latent": Cost(moved=28 * b * k + 8 * n),
        "decoder gradient": Cost(flops=gather, moved=2 * b * d + 12 * b * k + 4 * n * d),
        "encoder gradient": Cost(flops=gather, moved=2 * b * d + 12 * b * k + 4 * n * d),
        "decoder Adam": Cost(moved=28 * n * d),
        "encoder Adam": Cost(moved=28 * n * d),
    }


def make(b: int, d: int, n: int, k: int) -> dict[str, Callable[[], None]]:
    """The parts of a step, as the trainer runs them. Each leaves its result for the next one."""
    torch.manual_seed(0)
    u, bias, centre = (torch.randn(*s, device="cuda") for s in ((b, d), (n,), (d,)))
    # In both, the weights of a latent are contiguous in memory.
    decoder, encoder = (normalize(torch.randn(n, d, device="cuda"), dim=1) for _ in range(2))
    moments = [(torch.zeros_like(decoder), torch.zeros_like(decoder)) for _ in range(2)]
    have: dict = {"pre": torch.empty(b, n, device="cuda")}

    def encode() -> None:
        gpu.encode(u, encoder.T, bias, centre, have["pre"])

    def select() -> None:
        have["codes"] = gpu.largest(have["pre"], k)

    def reconstruct() -> None:
        starts, latents, values = have["codes"]
        found = gpu.reconstruct(starts, latents, values, decoder, centre, u)
        have["error"], _, have["grad"] = found

    def order() -> None:
        starts, latents, _ = have["codes"]
        have["order"] = gpu.by_latent(starts, latents, n)

    def decoder_gradient() -> None:
        have["decoder"] = gpu.sum_by_latent(have["order"], have["codes"][2], have["error"])

    def encoder_gradient() -> None:
        have["encoder"] = gpu.sum_by_latent(have["order"], have["grad"], u)

    def adam(weight: torch.Tensor, of: str) -> None:
        given = (weight, have[of], *moments[of == "encoder"])
        gpu.adam(*given, rate=1e-4, step=1, scale=1.0, unit_rows=of == "decoder")

    return {
        "encoder product": encode,
        "top k": select,
        "reconstruction": reconstruct,
        "by latent": order,
        "decoder gradient": decoder_gradient,
        "encoder gradient": encoder_gradient,
        "decoder Adam": lambda: adam(decoder, "decoder"),
        "encoder Adam": lambda: adam(encoder, "encoder"),
    }


def seconds(function: Callable[[], None], repeats: int) -> float:
    """Median time on the device."""
    function()
    taken = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        function()
        end.record()
        end.synchronize()
        taken.append(start.elapsed_time(end) / 1e3)
    return statistics.median(taken)


def main() -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tflops", type=float, required=True)
    parser.add_argument("--tflops-float32", type=float, required=True)
    parser.add_argument("--bandwidth", type=float, required=True)
    parser.add_argument("--batch", type=int, default=16_384)
    parser.add_argument("--d", type=int, default=1024)
    parser.add_argument("--latents", type=int, default=65_536)
    parser.add_argument("--k", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=20)
    given = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no CUDA device: nothing is measured")
    shape = (given.batch, given.d, given.latents, given.k)
    parts = make(*shape)
    floors = {
        name: max(
            cost.products / given.tflops / 1e12 + cost.flops / given.tflops_float32 / 1e12,
            cost.moved / given.bandwidth / 1e12,
        )
        for name, cost in costs(*shape).items()
    }
    assert list(floors) == list(parts)

    def step() -> None:
        for part in parts.values():
            part()

    print(f"{torch.cuda.get_device_name()}: b={shape[0]} d={shape[1]} n={shape[2]} k={shape[3]}")
    print(f"{'':18}{'ms':>9}{'floor':>9}{'ratio':>7}")
    rows = [(name, seconds(part, given.repeats), floors[name]) for name, part in parts.items()]
    rows.append(("sum of the parts", sum(r[1] for r in rows), sum(floors.values())))
    rows.append(("whole step", seconds(step, given.repeats), sum(floors.values())))
    for name, taken, floor in rows:
        print(f"{name:18}{taken * 1e3:9.3f}{floor * 1e3:9.3f}{taken / floor:7.2f}")


if __name__ == "__main__":
    main()
