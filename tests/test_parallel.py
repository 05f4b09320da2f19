"""Several processes that divide a dictionary's latents do what one does."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from synthetic import encoded
from trained import (
    EVERY,
    EVERYTHING,
    JUMPRELU,
    LONG,
    RELU,
    RESULTS,
    ROOT,
    TOPK,
    arguments,
    lines,
    start,
)

from saev.activations.artifact import Activations
from saev.core.errors import UserError
from saev.core.spec import parsed
from saev.settings.sae import AnySaeSettings
from saev.train import loader, parallel
from saev.train.parallel import Processes


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def begin(size, *command):
    """Start ``size`` processes as torchrun does."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(size)}
    return [
        subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env={
                **os.environ,
                **place,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "PYTHONPATH": ".",
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]


def processes(size, *command):
    """Run ``size`` processes until all have ended well."""
    for process in begin(size, *command):
        assert process.wait(120) == 0, process.stderr.read()


DENSE = {"initial_threshold": 0.0001, "bandwidth": 2.0}
"""So many latents are active, or near their threshold, that products are dense."""
DYING = {"l1": 1.0, "l1_warmup_steps": 0, "lr": 0.1, "warmup_steps": 0}
"""Latents of a ReLU die in the first steps."""
VARIANTS = EVERY | {
    "jumprelu": JUMPRELU | {"l0_target": 3.0},
    "jumprelu-dense": JUMPRELU | DENSE,
    "relu-auxk": RELU | DYING | {"aux_k": 8, "aux_coefficient": 0.03},
    "relu-ghosts": RELU | DYING | {"ghost_gradients": True, "mse_over_norm": True},
    "all-aux": TOPK | {"aux_k": 100},
}


def settings_of(name):
    """Of a variant, with options that look at all latents."""
    return VARIANTS[name] | {"clip_norm": 0.5, "schedule": "cosine"}


@pytest.fixture(scope="module")
def first_steps(tmp_path_factory):
    """Folders with what the first steps of every architecture gave, by one process and by two."""
    given = json.dumps({name: settings_of(name) for name in VARIANTS})
    folders = [tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")]
    for size, folder in enumerate(folders, 1):
        processes(size, "tests/first_steps.py", str(size), str(folder), given)
    return folders


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_the_first_steps_of_two_processes_are_those_of_one(name, first_steps):
    found = [dict(np.load(folder / f"{name}.npz")) for folder in first_steps]
    one, two = found
    assert one.keys() == two.keys()
    assert one["dead_now"].any() or name in ("relu", "jumprelu", "jumprelu-dense")
    for key in set(one) - {"lines"}:
        np.testing.assert_allclose(one[key], two[key], rtol=1e-9, atol=1e-11, err_msg=key)
    for ours, theirs in zip(*(json.loads(str(f["lines"])) for f in found), strict=True):
        for key in ours:
            assert ours[key] == pytest.approx(theirs[key], rel=1e-9), key


def test_shares_of_a_batch_are_the_batch_and_each_row_comes_once_an_epoch(tmp_path):
    reader = Activations(encoded(tmp_path / "e", absent=(7,)))
    vectors = loader.InMemory(reader, reader.stream(0, "patches"), reader.rows(0, 600))
    n_steps = 2 * vectors.n // 48
    whole = np.concatenate(list(loader.batches(vectors, 48, 3, 0, n_steps)))
    shares = [
        np.stack(list(loader.batches(vectors, 48, 3, 0, n_steps, share=Processes(r, 3).share(48))))
        for r in range(3)
    ]
    assert np.array_equal(np.concatenate(shares, axis=1).reshape(-1, 4), whole)
    epoch = whole[: vectors.n, :2]
    assert len(np.unique(epoch, axis=0)) == vectors.n


@pytest.mark.slow
def test_a_training_of_two_processes_with_every_option_is_that_of_one_to_rounding(
    activations, tmp_path
):
    for n in (1, 2):
        settings = TOPK | EVERYTHING | {"patience": None, "min_improvement": 0.0, "processes": n}
        assert start(settings, activations, tmp_path / str(n)).wait() == 0
    one, two = (lines(tmp_path / str(n)) for n in (1, 2))
    assert two[-1]["resampled"] > 0
    assert any(line["aux"] for line in two)
    for ours, theirs in zip(one, two, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
    one, two = (load_file(tmp_path / str(n) / RESULTS[0]) for n in (1, 2))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-5)
    assert sorted(p.name for p in (tmp_path / "2").iterdir()) == sorted([*RESULTS, "run.json"])


@pytest.mark.slow
def test_two_processes_asked_to_stop_go_on_from_there_with_the_same_bytes(activations, tmp_path):
    shared = LONG | {"processes": 2}
    undisturbed, disturbed = tmp_path / "a" / "s", tmp_path / "b" / "s"
    assert start(shared, activations, undisturbed).wait() == 0
    process = start(shared, activations, disturbed)
    while not list(disturbed.glob(".state/*/state.safetensors")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert not (disturbed / "meta.json").exists()
    assert start(shared, activations, disturbed).wait() == 0
    for name in RESULTS:
        assert (undisturbed / name).read_bytes() == (disturbed / name).read_bytes(), name


@pytest.mark.slow
def test_the_stage_starts_its_processes_and_a_mistake_is_one_line(activations, tmp_path):
    given = arguments(TOPK | {"processes": 2, "layer": 7}, activations, tmp_path / "s")
    done = subprocess.run(
        [sys.executable, "-m", "saev.train", *given], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.count("error:") == 1
    assert "Traceback" not in done.stderr


def test_more_gpus_than_there_are_and_unequal_shares_are_refused(activations):
    with pytest.raises(UserError, match="processes: 3 need 3 GPUs, but PyTorch sees"):
        parallel.launch(3, "saev.train", [], torch.device("cuda"))
    with pytest.raises(UserError, match="batch_size: 64 can't be divided by 3"):
        parsed(AnySaeSettings, TOPK | {"processes": 3})
    with pytest.raises(UserError, match="n_latents: 161 can't be divided by 2"):
        parsed(AnySaeSettings, TOPK | {"processes": 2, "n_latents": 161})


LEAVES = """
import atexit, os, torch, torch.distributed as dist
from saev.train import parallel

atexit.register(lambda: os._exit(1 if dist.is_initialized() else 0))
parallel.join(2, torch.device("cpu"))
"""


def test_a_process_leaves_its_group_before_it_ends():
    """If it doesn't, PyTorch's threads abort it now and then: 3 of 25 times in a trial."""
    processes(2, "-c", LEAVES)


HANGS = """
import sys, time, torch
from datetime import timedelta
from saev.core import logs
from saev.core.errors import UserError
from saev.train import parallel

logs.start()
parallel.PATIENCE = timedelta(seconds=2)
processes = parallel.join(2, torch.device("cpu"))
if not processes.first:
    time.sleep(4)  # reads large files: others wait for that
processes.meet()
processes.agree(True, torch.device("cpu"))
if not processes.first:
    time.sleep(300)
try:
    processes.agree(True, torch.device("cpu"))
except UserError as error:
    assert error.may_pass
    sys.exit(f"error: {error}")
"""


@pytest.mark.slow
def test_a_process_that_hangs_ends_the_others_but_one_that_reads_long_does_not():
    first, hanging = begin(2, "-c", HANGS)
    try:
        assert first.wait(60) == 1
        said = first.stderr.read()
        assert "error: another process of this training ended" in said
        assert "Traceback" not in said
        assert hanging.poll() is None
    finally:
        hanging.kill()
        hanging.wait()
