"""A program that uses saev and checks that saev changes nothing of its own. Run by
`test_good_guest.py`.

Prints a JSON list of what has changed: when saev's modules are imported, while its functions run
(as other threads see it), and after them.
"""

import atexit
import faulthandler
import gc
import importlib
import json
import locale
import logging
import multiprocessing
import os
import pkgutil
import random
import resource
import signal
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import datasets
import jaxtyping  # noqa: F401
import matplotlib
import matplotlib.backends.backend_agg
import numba  # noqa: F401
import numpy as np
import open_clip  # noqa: F401
import openTSNE  # noqa: F401
import pandas as pd
import pyarrow.parquet  # noqa: F401
import safetensors.torch  # noqa: F401
import scipy.special  # noqa: F401
import snakemake  # noqa: F401
import timm  # noqa: F401
import torch
import wandb  # noqa: F401
from PIL import Image, ImageFile

OPTIONAL = ("triton",)

OF_DATASETS = "HF_DATASETS_STACK_MULTIPROCESSING_DOWNLOAD_PROGRESS_BARS"
"""A variable that the library `datasets` sets for as long as it prepares files."""


def seen_by_all() -> dict[str, object]:
    """What other threads of the program would notice at once."""
    return {
        "Pillow's limit": Image.MAX_IMAGE_PIXELS,
        "threads of PyTorch": torch.get_num_threads(),
        "type of new tensors": str(torch.get_default_dtype()),
        "gradients": torch.is_grad_enabled(),
        "numpy's errors": np.geterr(),
        "handlers of the root logger": [str(h) for h in logging.root.handlers],
        "handlers of signals": [str(signal.getsignal(n)) for n in signal.valid_signals()],
        "environment": {k: v for k, v in os.environ.items() if k != OF_DATASETS},
        "folder": str(Path.cwd()),
        "path": list(sys.path),
    }


def switches() -> dict[str, object]:
    """All that a library might be tempted to set."""
    backends = torch.backends
    mask = os.umask(0)
    os.umask(mask)
    return seen_by_all() | {
        "truncated files": ImageFile.LOAD_TRUNCATED_IMAGES,
        "filters of warnings": [str(one) for one in warnings.filters],
        "TF32": [
            *(backends.fp32_precision, backends.cudnn.fp32_precision),
            *(backends.cuda.matmul.fp32_precision, backends.cudnn.conv.fp32_precision),
            *(backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32),
            *(backends.mkldnn.matmul.fp32_precision, torch.get_float32_matmul_precision()),
        ],
        "cuDNN": [
            *(backends.cudnn.enabled, backends.cudnn.benchmark, backends.cudnn.deterministic),
            torch.are_deterministic_algorithms_enabled(),
        ],
        "threads between operations": torch.get_num_interop_threads(),
        "sharing of tensors": torch.multiprocessing.get_sharing_strategy(),
        "random numbers": [
            *(torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()),
            [state.tolist() for state in torch.cuda.get_rng_state_all()] if GPU else None,
        ],
        "numpy's printing": str(np.get_printoptions()),
        "pandas": str(pd.get_option("display.max_rows")),
        "matplotlib": [
            matplotlib.get_backend(auto_select=False),
            # Looking at the backend would choose one.
            {k: str(matplotlib.rcParams[k]) for k in matplotlib.rcParams if k != "backend"},
        ],
        "datasets": [logging.getLogger("datasets").level, datasets.are_progress_bars_disabled()],
        "level of the root logger": [logging.root.level, logging.root.manager.disable],
        "locale": locale.setlocale(locale.LC_ALL),
        "umask": mask,
        "limits": [resource.getrlimit(n) for n in (resource.RLIMIT_NOFILE, resource.RLIMIT_AS)],
        "start of processes": multiprocessing.get_start_method(allow_none=True),
        "hooks": [str(h) for h in (sys.excepthook, threading.excepthook, warnings.showwarning)],
        "output": [str(sys.stdout), str(sys.stderr)],
        "end of the program": atexit._ncallbacks(),
        "recursion": sys.getrecursionlimit(),
        "garbage": [gc.isenabled(), gc.get_threshold(), faulthandler.is_enabled()],
        "running threads": sorted(
            # Those that dictionaries are computed with wait for the next.
            t.name
            for t in threading.enumerate()
            if not t.name.startswith("saev-kernels")
        ),
    }


class Watch:
    """Another thread of the program, which looks while saev works."""

    def __init__(self) -> None:
        self.wrong: set[str] = set()
        self.looks = 0
        self._before = seen_by_all()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._end.wait(0.0005):  # never keep the program itself from running
            self.wrong |= changed(self._before, seen_by_all())
            self.looks += 1

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


def changed(before: dict[str, object], after: dict[str, object]) -> set[str]:
    found = {name for name in before if before[name] != after[name]}
    if "environment" in found:
        pairs = [set(one["environment"].items()) for one in (before, after)]
        found.add(f"environment: {sorted(pairs[0] ^ pairs[1])}")
    return found


def import_everything() -> None:
    import saev

    for found in pkgutil.walk_packages(saev.__path__, "saev."):
        try:
            importlib.import_module(found.name)
        except ModuleNotFoundError as error:
            if error.name not in OPTIONAL:
                raise


def use(run_path: str, table: str) -> None:
    """Call what saev offers to programs, and what that rests on."""
    import saev
    from saev.activations.loading import batches
    from saev.activations.towers.tower import load_tower
    from saev.images.artifact import Images
    from saev.images.sources import open_source
    from saev.settings.images import ParquetSettings
    from saev.settings.vit import VitSettings

    run = saev.open_run(run_path)
    assert len(run.latents) == run.summary["n_latents"]
    assert len(run.labels)
    assert run.settings
    top = run.top_images(int(run.latents.image_count.idxmax()))
    top_images = [run.image(row) for row in top.row] * 20
    sae = saev.load(Path(run_path).parent)
    sae.decode(sae.encode(torch.from_numpy(run.activations()[:]).reshape(-1, sae.d)))
    with ThreadPoolExecutor(2) as pool:
        explorers = list(pool.map(saev.Explorer, [run_path] * 2))
        found = list(pool.map(lambda one: one.encode_images(top_images), explorers))
    assert all(len(one) == len(top_images) for one in found)
    images = Images(Path(run_path).parents[2])
    for batch in batches(images, 0, images.n_images, explorers[0].tower.geometry, 2):
        assert batch.present.all()
    if GPU:
        saev.Explorer(run_path, device="cuda").encode_images(top_images)
    else:
        with suppress(AssertionError, RuntimeError):  # there is no GPU to load it to
            load_tower(VitSettings.model_validate_json(json.dumps(run.settings["vit"])), "cuda")
    for wrong in (lambda: run.image(10**9), lambda: saev.open_run("absent")):
        try:
            wrong()
        except saev_errors().UserError:
            pass
        else:
            raise AssertionError("nothing was refused")
    source = open_source(ParquetSettings(parquet=table))
    assert sum(len(part) for part in source.tables()) == 3


def saev_errors():
    return importlib.import_module("saev.core.errors")


if __name__ == "__main__":
    GPU = torch.cuda.is_available()
    Image.init()
    torch.set_num_threads(3)
    # The library of tables sets up progress bars and locks of its own, whoever asks it first.
    datasets.Dataset.from_parquet(sys.argv[2])
    start = switches()
    problems = []
    import_everything()
    problems += [f"imports change {name}" for name in sorted(changed(start, switches()))]
    start = switches()
    with Watch() as watch:
        use(*sys.argv[1:])
    assert watch.looks > 10
    problems += [f"others see another: {name}" for name in sorted(watch.wrong)]
    problems += [f"use changes {name}" for name in sorted(changed(start, switches()))]
    print(json.dumps(problems))
