"""What a machine refuses is one line with the path, in every stage; what can be done without is
done without."""

import errno
import json
import logging
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from project import without_gpus
from safetensors.numpy import save_file
from trained import TOPK, arguments

from saev.core import frame, logs, provenance
from saev.core.errors import UserError
from saev.core.files import write_bytes
from saev.core.system_errors import ON_GPU, REMEDIES, explained, filling
from saev.images.sources.unique import Unique
from saev.workflow import failures

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("number", REMEDIES)
def test_a_refusal_names_its_path_and_what_to_do(number):
    text = explained(OSError(number, os.strerror(number), "/data/results/a.npy"))
    assert text.startswith("/data/results/a.npy: ")
    assert REMEDIES[number] in text


def test_a_full_disk_says_how_much_is_free_and_the_name_that_a_temporary_file_stands_for(tmp_path):
    name = str(tmp_path / ".meta.json.host.12.0011aabb.tmp")
    text = explained(OSError(errno.ENOSPC, "x", name))
    assert text.startswith(f"{tmp_path}/meta.json: the disk is full")
    assert f"MB are free at {tmp_path}" in text


@pytest.fixture(autouse=True)
def _no_signals(monkeypatch):
    """A stage that runs in this process must not change how the process ends."""
    monkeypatch.setattr(frame.stop, "listen", lambda log: None)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"
        ),
        np._core._exceptions._ArrayMemoryError((2, 3), np.dtype("float32")),
    ],
)
def test_too_little_memory_is_known_in_every_library(error):
    assert explained(error) == REMEDIES[errno.ENOMEM]


@pytest.mark.parametrize(
    "text",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …",
        "HIP out of memory. Tried to allocate 2.00 GiB. GPU 0 has …",
        "CUDA error: out of memory\nCUDA kernel errors might be …",
        "Triton Error [CUDA]: out of memory",
        "NCCL error …\nLast error:\nCuda failure 2 'out of memory'",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_a_full_gpu_has_remedies_of_its_own(text):
    assert explained(RuntimeError(text)) == ON_GPU


def test_an_error_in_the_code_is_not_explained_away():
    assert explained(ValueError("shapes (3,) and (4,) don't fit")) is None
    assert explained(KeyError(28)) is None
    assert explained(FileNotFoundError(errno.ENOENT, "x", "y")) is None


def test_a_folder_that_vanished_is_said_and_a_missing_file_in_it_is_not_explained_away(tmp_path):
    name = str(tmp_path / "a/b")
    text = explained(FileNotFoundError(errno.ENOENT, "x", name))
    assert text.startswith(f"{name}: its folder is gone")
    (tmp_path / "a").mkdir()
    assert explained(FileNotFoundError(errno.ENOENT, "x", name)) is None


@pytest.fixture
def small_disk(tmp_path):
    """A disk with 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_what_a_library_says_of_a_full_disk_is_known(small_disk):
    with pytest.raises(Exception, match="No space left") as caught:
        save_file({"a": np.zeros(100_000)}, small_disk / "a.safetensors")
    assert "the disk is full" in explained(caught.value)
    with pytest.raises(OSError, match="requested") as caught:
        np.save(small_disk / "a.npy", np.zeros(100_000))
    assert "the disk is full" in explained(caught.value)


def test_a_full_disk_is_named_wherever_it_is(small_disk, monkeypatch):
    with pytest.raises(OSError, match="No space left") as caught:
        write_bytes(small_disk / "a.bin", bytes(100_000))
    assert explained(caught.value).startswith(f"{small_disk}/a.bin: the disk is full")
    assert f"MB are free at {small_disk}" in explained(caught.value)
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    keys, unique = pa.array([f"{i}" for i in range(10_000)]), Unique("here")
    with pytest.raises(OSError, match="No space left") as caught:
        unique.add(keys)
    assert f"MB are free at {small_disk}" in explained(caught.value)
    with suppress(OSError):
        unique._file.close()
    (small_disk / "s").mkdir()
    with pytest.raises(OSError, match="No space left"), filling(small_disk / "s"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    nameless = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "free at" not in explained(nameless)
    assert explained(nameless, small_disk).endswith(f"MB are free at {small_disk})")


@pytest.mark.slow
def test_a_training_on_a_full_disk_ends_with_a_line(small_disk, activations):
    given = arguments(TOPK | {"n_latents": 800}, activations, small_disk / "vit" / "s")
    command = [sys.executable, "-m", "saev.train", *given, "--log", str(small_disk / "log")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the disk is full" in done.stderr
    assert "MB are free" in done.stderr
    assert "Traceback" not in done.stderr
    assert "report" not in done.stderr


def test_a_log_that_cannot_be_written_costs_no_work(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["stage", "--log", "/dev/full"])
    frame.run(lambda _: [logs.say("first"), logs.say("second")])
    (tmp_path / "file").touch()
    monkeypatch.setattr(sys, "argv", ["stage", "--log", str(tmp_path / "file" / "log")])
    frame.run(lambda _: logs.say("third"))
    said = capfd.readouterr().err
    logging.getLogger("saev").handlers.clear()
    assert said.count("warning: can't write the log /dev/full (No space left on device)") == 1
    assert "warning: can't write the log" in said.replace("/dev/full", "")
    assert [word in said for word in ("first", "second", "third")] == [True] * 3
    assert "Traceback" not in said


@pytest.mark.parametrize("path", ["", "/nonexistent"])
def test_a_machine_without_git_records_no_revision(tmp_path, monkeypatch, path):
    monkeypatch.setenv("PATH", path)
    provenance.Provenance("train", "c0de").write(tmp_path)
    assert json.loads((tmp_path / "run.json").read_text())["git"] is None


@pytest.mark.slow
def test_code_on_a_read_only_disk_trains_without_a_home(tmp_path, activations):
    command = ["cp", "-a", str(ROOT / "saev"), str(tmp_path / "saev")]
    subprocess.run(command, check=True)
    for cache in tmp_path.rglob("__pycache__"):
        subprocess.run(["rm", "-r", str(cache)], check=True)
    (tmp_path / "mounted").mkdir()
    bind = (
        f"mount --bind {tmp_path}/saev {tmp_path}/saev && mount -o remount,ro,bind {tmp_path}/saev"
    )
    given = arguments(TOPK, activations, tmp_path / "vit" / "s")
    shell = f'{bind} && exec {sys.executable} -m saev.train "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", shell, "bash", *given],
        cwd=tmp_path,
        env={"HOME": "/proc/nope", "PATH": os.environ["PATH"], **without_gpus()},
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip("this machine lets nobody mount")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "vit/s/meta.json").exists()


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (UserError("k is 0"), False),
        (UserError("another process took the lock over", may_pass=True), True),
        (MemoryError(), True),
        (RuntimeError("CUDA out of memory. Tried to …"), False),
        (ZeroDivisionError(), True),
    ],
    ids=["a mistake", "a lost lock", "memory", "memory of a GPU", "a fault"],
)
def test_the_log_of_a_job_says_whether_trying_again_can_help(error, again, tmp_path, monkeypatch):
    def main(arguments):
        raise error

    log = tmp_path / "job.log"
    monkeypatch.setattr("sys.argv", ["stage", "--log", str(log)])
    with pytest.raises(SystemExit):
        frame.run(main)
    assert failures.of_log(log).error
    assert failures.of_log(log).final != again
