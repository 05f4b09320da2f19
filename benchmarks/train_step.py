"""Compares a training step with the encoder's product alone, plain autograd, and peers.

    python benchmarks/train_step.py                      # d=768, n=6,144, k=32, batch 2,048
    python benchmarks/train_step.py --large              # d=1,024, n=65,536, k=64, batch 4,096
    python benchmarks/train_step.py --peers              # also the peers that are installed
    python benchmarks/train_step.py --large --batch 16384 --device cuda --peers

The last command compares with sparsify's kernels.

All are timed in turns within one run, because machines are shared: look at the ratios. Install
peers into their own environment (benchmarks/README.md). The project never installs them.
"""

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import peers
from saev import sae as saes
from saev.core.spec import parsed
from saev.settings.sae import AnySaeSettings
from saev.train.trainer import Trainer

Step = Callable[[np.ndarray], object]


def product(d: int, n: int, device: str) -> Step:
    """``x @ W`` alone, in bfloat16 on a GPU. No exact TopK can do without it."""
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    weight = (torch.randn(d, n) / d**0.5).to(device, dtype)
    out = torch.empty(0, dtype=dtype, device=device)

    def step(x: np.ndarray) -> Tensor:
        out.resize_(len(x), n)
        return torch.mm(torch.from_numpy(x).to(device, dtype), weight, out=out)

    return step


def ours(
    settings: dict[str, object], d: int, device: str = "cpu", active: float | None = None
) -> Step:
    """A step of the trainer as in `saev.train`, without logging.

    ``active`` sets the share of active latents.
    """
    training = {"tokens": "pooled", "batch_size": 1, "epochs": 1.0, "lr": 1e-4}
    given = parsed(AnySaeSettings, {**training, "dead_after": 10**9, **settings})
    sae = saes.build(given, d, torch.Generator().manual_seed(0))
    if active is not None:
        with torch.no_grad():
            pre = sae.preactivations(
                torch.randn(256, d, generator=torch.Generator().manual_seed(0))
            )
            sae.b_enc.sub_(float(np.quantile(pre.numpy(), 1 - active)))
    return Trainer(sae.to(device), n_steps=1, mean=np.zeros(d)).train


def plain(d: int, n: int, k: int, batch: int, l1: float | None = None) -> Step:
    """The same dictionary in plain autograd with Adam: TopK, or ReLU with an L1 penalty."""
    generator = torch.Generator().manual_seed(0)
    decoder = torch.nn.functional.normalize(torch.randn(n, d, generator=generator), dim=1)
    W_enc, W_dec = torch.nn.Parameter(decoder.T.clone()), torch.nn.Parameter(decoder)
    b_enc, b_dec = torch.nn.Parameter(torch.zeros(n)), torch.nn.Parameter(torch.zeros(d))
    adam = torch.optim.Adam([W_enc, W_dec, b_enc, b_dec], lr=1e-4)

    def step(x: np.ndarray) -> None:
        u = torch.from_numpy(x)
        pre = (u - b_dec) @ W_enc + b_enc
        if l1 is None:
            values, latents = pre.topk(k, dim=1)
            z = torch.zeros_like(pre).scatter(1, latents, values.relu())
        else:
            z = pre.relu()
        loss = (u - z @ W_dec - b_dec).square().mean()
        if l1 is not None:
            loss = loss + l1 * z.sum(dim=1).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        with torch.no_grad():
            W_dec.div_(W_dec.norm(dim=1, keepdim=True))

    return step


def rate(step: Step, batches: list[np.ndarray], n_steps: int) -> float:
    """Examples per second over ``n_steps`` steps."""
    start = time.perf_counter()
    for i in range(n_steps):
        step(batches[i % len(batches)])
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return n_steps * len(batches[0]) / (time.perf_counter() - start)


def print_peak_memory(step: Step, batches: list[np.ndarray], state: int, latents: int) -> None:
    """Print the peak memory of this process over some steps, against its budget.

    Call this before anything but ``step`` has run.
    """
    rate(step, batches, 3)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        f"peak memory {peak / 2**30:.2f} GiB; weights, gradients, Adam's moments and one batch of "
        f"latents {(state + latents) / 2**30:.2f} GiB: {peak / (state + latents):.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--large", action="store_true", help="d=1,024, n=65,536, k=64, batch 4,096")
    parser.add_argument("--peers", action="store_true", help="time the peers installed here too")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5, help="steps in a turn")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    d, n, k, batch = (1024, 65536, 64, 4096) if args.large else (768, 6144, 32, 2048)
    batch, device = args.batch or batch, args.device
    rng = np.random.default_rng(0)
    drawn = (rng.standard_normal((batch, d)).astype(np.float32) for _ in range(4))
    batches = [x if device == "cpu" else torch.from_numpy(x).pin_memory().numpy() for x in drawn]
    topk = {"architecture": "topk", "n_latents": n, "k": k}
    aux = {"aux_k": d // 2, "aux_coefficient": 1 / 32}
    print(f"d={d}, n={n}, k={k}, batch {batch}, {device}, {args.threads} threads")
    ours_topk = ours({**topk, **aux}, d, device)
    if args.large and device == "cpu":
        print_peak_memory(
            ours_topk, batches, state=4 * (2 * d * n + d + n) * 4, latents=batch * n * 4
        )
    steps: dict[str, Step] = {"encoder product alone": product(d, n, device)}
    steps["saev topk, auxiliary loss on, none dead"] = ours_topk
    if not args.large and device == "cpu":
        relu = {"architecture": "relu", "n_latents": n, "l1": 1e-3}
        jump = {"architecture": "jumprelu", "n_latents": n, "sparsity": 1e-3, "bandwidth": 0.1}
        steps["saev relu, L1, half active"] = ours(relu, d)
        steps["saev relu, L1, 1 % active"] = ours(relu, d, active=0.01)
        steps["saev jumprelu, half active"] = ours({**jump, "initial_threshold": 0.001}, d)
        steps["saev jumprelu, 1 % active"] = ours(
            {**jump, "initial_threshold": 0.1}, d, active=0.01
        )
        steps["plain autograd, topk"] = plain(d, n, k, batch)
        steps["plain autograd, relu, L1"] = plain(d, n, k, batch, l1=1e-3)
    if args.peers:
        steps |= {peer.name: peer.step for peer in peers.installed(d, n, k, device=device)}
    rates: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(args.turns + 1):
        for name, step in steps.items():
            found = rate(step, batches, args.steps)
            if turn:  # the first warms up
                rates[name].append(found)
    limit = rates["encoder product alone"]
    for name, turns in rates.items():
        share = statistics.median(a / b for a, b in zip(turns, limit, strict=True))
        print(f"{name:42} {statistics.median(turns):9,.0f} examples/s   {share:.2f} of the product")


if __name__ == "__main__":
    main()
