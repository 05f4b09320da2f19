"""One training step of a TopK dictionary on a CUDA device, part by part, beside its floor.

    python benchmarks/gpu_step.py --tflops 989 --tflops-float32 67 --bandwidth 3.35

The three are the card's peaks, in TFLOP/s of bfloat16 products, TFLOP/s of float32 and TB/s; those above
are an H100 SXM's by its data sheet. Prints for each part the median time, the floor (the greater of
FLOPs and bytes over their peaks, counted as in benchmarks/README.md) and their ratio, then the whole
step. Exits 1 without a CUDA device.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from typing import NamedTuple

import torch


class Cost(NamedTuple):
    """What a part can't do without."""

    products: float = 0
    """FLOPs of dense products in bfloat16."""
    flops: float = 0
    """Other FLOPs, in float32."""
    moved: float = 0
    """Bytes read and written once each."""


def costs(b: int, d: int, n: int, k: int) -> dict[str, Cost]:
    """The floor of each part; benchmarks/README.md has the formulas."""
    gather = 2 * b * k * d
    return {
        "encoder product": Cost(products=2 * b * d * n, moved=2 * (b * d + d * n + b * n)),
        "top k": Cost(moved=2 * b * n + 12 * b * k),
        "decode": Cost(flops=gather, moved=2 * n * d + 12 * b * k + 4 * b * d),
        "value gradients": Cost(flops=gather, moved=2 * n * d + 12 * b * k + 2 * b * d),
        "by latent": Cost(moved=28 * b * k + 8 * n),
        "decoder gradient": Cost(flops=gather, moved=2 * b * d + 12 * b * k + 4 * n * d),
        "encoder gradient": Cost(flops=gather, moved=2 * b * d + 12 * b * k + 4 * n * d),
        "decoder Adam": Cost(moved=28 * n * d),
        "encoder Adam": Cost(moved=28 * n * d),
        "bfloat16 copies": Cost(moved=12 * n * d),
    }


def make(b: int, d: int, n: int, k: int) -> dict[str, Callable[[], None]]:
    """The parts of a step, each of which leaves its result for the next.

    Both weights are (n, d): the encoder's gradient comes by latent, as the decoder's does.
    """
    from saev.sae.base import unit_rows
    from saev.sae.kernels import triton as kernels

    torch.manual_seed(0)
    u = torch.randn(b, d, device="cuda").bfloat16()
    bias = torch.zeros(n, device="cuda", dtype=torch.bfloat16)
    masters = [unit_rows(torch.randn(n, d, device="cuda")) for _ in range(2)]
    copies = [w.bfloat16() for w in masters]
    moments = [(torch.zeros_like(w), torch.zeros_like(w)) for w in masters]
    have: dict = {"pre": torch.empty(b, n, device="cuda", dtype=torch.bfloat16)}

    def encode() -> None:
        torch.addmm(bias, u, copies[0].T, out=have["pre"])

    def select() -> None:
        have["codes"] = kernels.topk_positive(have["pre"], k)

    def decode() -> None:
        have["error"] = kernels.decode(*have["codes"], copies[1])

    def values() -> None:
        # The error in bfloat16 stands for the loss' gradient; a fused loss would write it so.
        if have["error"].dtype != torch.bfloat16:
            have["error"] = (have["error"] - u).bfloat16()
        starts, latents, _ = have["codes"]
        have["grad"] = kernels.value_gradients(starts, latents, copies[1], have["error"])

    def order() -> None:
        starts, latents, _ = have["codes"]
        have["view"] = kernels.by_latent(starts, latents, n)

    def gradient(of: int) -> None:
        offsets, vectors, at = have["view"]
        weights, rows = (have["grad"], u) if of == 0 else (have["codes"][2], have["error"])
        have["grad", of] = kernels.sum_by_latent(offsets, vectors, weights[at], rows)

    def adam(of: int) -> None:
        given = (masters[of], have["grad", of], *moments[of])
        kernels.project_adam_normalise(*given, 1e-4, 1.0, 0.9, 0.999, 1e-8, of == 1)

    def copy() -> None:
        for target, source in zip(copies, masters, strict=True):
            target.copy_(source)

    return {
        "encoder product": encode,
        "top k": select,
        "decode": decode,
        "value gradients": values,
        "by latent": order,
        "decoder gradient": lambda: gradient(1),
        "encoder gradient": lambda: gradient(0),
        "decoder Adam": lambda: adam(1),
        "encoder Adam": lambda: adam(0),
        "bfloat16 copies": copy,
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
