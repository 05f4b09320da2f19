"""Settings of small trainings, and how tests run them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from saev import sae as saes
from saev.core.plan_file import PLAN_VARIABLE
from saev.core.spec import parsed
from saev.settings.sae import AnySaeSettings
from saev.train import __main__ as train

ROOT = Path(__file__).resolve().parent.parent
D = 32
RESULTS = ("checkpoint.safetensors", "train.jsonl", "curves.png", "meta.json")
TOPK = {
    "architecture": "topk",
    "layer": 1,
    "tokens": "cls",
    "n_latents": 160,
    "k": 2,
    "aux_k": 8,
    "aux_coefficient": 0.03,
    "dead_after": 64,
    "normalisation": "per_dimension",
    "batch_size": 64,
    "epochs": 6.0,
    "lr": 0.003,
    "warmup_steps": 5,
    "held_out": 0.2,
    "log_every": 7,
    "eval_every": 20,
}
RELU = {k: v for k, v in TOPK.items() if k not in ("k", "aux_k", "aux_coefficient")} | {
    "architecture": "relu",
    "l1": 0.03,
    "l1_warmup_steps": 10,
}
SELECTING = {
    "batchtopk": TOPK | {"architecture": "batchtopk"},
    "matryoshka": TOPK | {"architecture": "matryoshka", "widths": [40, 160]},
    "matryoshka-topk": TOPK | {"architecture": "matryoshka", "widths": [40, 160], "over": "topk"},
    "archetypal": TOPK | {"architecture": "archetypal", "n_points": 100, "relaxation": 0.2},
}
JUMPRELU = {k: v for k, v in TOPK.items() if k != "k"} | {
    "architecture": "jumprelu",
    "sparsity": 0.01,
    "sparsity_warmup_steps": 10,
    "bandwidth": 0.1,
    "initial_threshold": 0.05,
}
EVERY = {"topk": TOPK, "relu": RELU, "jumprelu": JUMPRELU, **SELECTING}
EVERYTHING = {
    "schedule": "cosine",
    "decay_from": 0.3,
    "lr_end": 0.1,
    "clip_norm": 0.02,
    "b_dec_init": "geometric_median",
    "init": "data",
    "resample_every": 640,
    "resample_until": 0.8,
    "shuffled_dimensions": True,
    "patience": 2,
    "min_improvement": 0.2,
    "eval_every": 9,
}
"""Every option of the trainer that is off otherwise; with these, both trainings stop early."""
LONG = TOPK | {"epochs": 40.0, "log_every": 1}
"""300 steps, each with a line in the curve: a program is still at it when its first steps are
seen."""


def arguments(settings, activations, out, threads=1):
    spec = json.dumps({"settings": settings, "code": "c0de"})
    return [
        *("--spec", spec, "--activations", str(activations), "--out", str(out)),
        *("--threads", str(threads)),
    ]


def run(settings, activations, out, threads=1):
    """Train in this process; return the bytes of what must be reproducible."""
    train.main(arguments(settings, activations, out, threads))
    return {name: (out / name).read_bytes() for name in RESULTS}


def write_plan(path, **compute):
    """Write a plan that says how to compute; return the variables that tell a stage of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"compute": compute}))
    return {PLAN_VARIABLE: str(path)}


def start(settings, activations, out, **compute):
    """Train in a program of its own, which saves its state after every step."""
    plan = write_plan(out.with_name(f"{out.name}.plan.json"), state_seconds=0, **compute)
    return subprocess.Popen(
        [sys.executable, "-m", "saev.train", *arguments(settings, activations, out)],
        cwd=ROOT,
        env={**os.environ, **plan, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


def read(settings, **changes):
    """The settings as the trainer takes them."""
    return parsed(AnySaeSettings, settings | changes)


def build(settings, d=D, **changes):
    """A dictionary as it starts."""
    return saes.build(read(settings, **changes), d, torch.Generator().manual_seed(0))


def lines(out):
    return [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
