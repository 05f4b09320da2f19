"""Jobs of a workstation share its GPUs out. No GPU is needed: a program says which there are."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from project import ROOT, Project

from saev.core import gpus
from saev.core import machine as machines
from saev.core.errors import UserError

LISTED = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aaaa)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bbbb)
GPU 2: NVIDIA A100-SXM4-40GB (UUID: GPU-cccc)
"""
SPLIT = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aaaa)
  MIG 3g.20gb     Device  0: (UUID: MIG-1111)
  MIG 3g.20gb     Device  1: (UUID: MIG-2222)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bbbb)
"""
JOB = """
import os, sys, time
from pathlib import Path
from saev.core import gpus, logs
logs.start()
gpus.take(int(sys.argv[1]), Path(sys.argv[2]))
print(os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Returns what sets which GPUs the driver names."""

    def has(listed):
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{listed}END\n")
        program.chmod(0o755)

    for name in (gpus.VISIBLE, gpus.SHARED_BY_MPS, "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(gpus, "_taken", [])
    return has


@pytest.fixture
def job(tmp_path):
    """Returns what starts a job that takes GPUs and holds them until it is killed."""
    started = []

    def start(n=1):
        process = subprocess.Popen(
            [sys.executable, "-c", JOB, str(n), str(tmp_path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def got(process):
    return process.stdout.readline().strip()


def test_each_job_takes_another_gpu_and_one_too_many_waits_until_one_is_killed(machine, job):
    machine(LISTED)
    jobs = [job() for _ in range(3)]
    taken = [got(process) for process in jobs]
    assert sorted(taken) == ["GPU-aaaa", "GPU-bbbb", "GPU-cccc"]
    fourth = job()
    assert fourth.stderr.readline() == "waiting for a GPU: other jobs have them\n"
    jobs[1].kill()
    assert got(fourth) == taken[1]


def test_a_shared_training_takes_all_or_waits(machine, job):
    machine(LISTED)
    first, second = job(2), None
    assert got(first) == "GPU-aaaa,GPU-bbbb"
    second = job(2)
    assert second.stderr.readline() == "waiting for 2 GPUs: other jobs have them\n"
    third = job()
    assert got(third) == "GPU-cccc"
    first.kill()
    assert got(second) == "GPU-aaaa,GPU-bbbb"


def test_parts_of_a_split_gpu_count_and_the_split_one_does_not(machine):
    machine(SPLIT)
    assert gpus.present() == ["MIG-1111", "MIG-2222", "GPU-bbbb"]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("2,1", ["GPU-cccc", "GPU-bbbb"]),
        (" 0, 1 ", ["GPU-aaaa", "GPU-bbbb"]),
        ("GPU-bbbb", ["GPU-bbbb"]),
        ("GPU-b", ["GPU-bbbb"]),
        ("MIG-GPU-aaaa/1/0", ["MIG-GPU-aaaa/1/0"]),
        ("", []),
        ("-1", []),
        ("1,-1,0", ["GPU-bbbb"]),
        ("1,,0", ["GPU-bbbb"]),
        ("0,3", ["GPU-aaaa"]),  # there is no 3
        ("0,0", []),
        ("0,GPU-aaaa", []),
        ("GPU-", []),  # of several
        ("GPU-x", []),
        ("all", []),
    ],
)
def test_a_variable_that_is_set_says_which_gpus_there_are(machine, monkeypatch, given, names):
    machine(LISTED)
    monkeypatch.setenv(gpus.VISIBLE, given)
    assert gpus.present() == names


def test_gpus_that_nobody_may_use_are_left_asleep(machine, monkeypatch, tmp_path):
    machine("")
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\n")
    monkeypatch.setenv(gpus.VISIBLE, "")
    assert gpus.present() == []
    assert not (tmp_path / "asked").exists()
    monkeypatch.setenv(gpus.VISIBLE, "0")
    gpus.present()
    assert (tmp_path / "asked").exists()


def test_numbers_stay_as_they_are_where_the_driver_may_count_otherwise_than_cuda(
    machine, monkeypatch
):
    monkeypatch.setenv(gpus.VISIBLE, "1")
    for listed in (LISTED.replace("A100-SXM4-40GB", "T400", 1), SPLIT, "", "failed\n"):
        machine(listed)
        assert gpus.present() == ["1"]
    machine(LISTED.replace("A100-SXM4-40GB", "T400", 1))
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert gpus.present() == ["GPU-bbbb"]


def test_jobs_with_the_variable_and_without_it_do_not_take_the_same_gpu(machine, job, monkeypatch):
    machine(LISTED)
    monkeypatch.setenv(gpus.VISIBLE, "0")
    first = job()
    assert got(first) == "GPU-aaaa"
    monkeypatch.delenv(gpus.VISIBLE)
    assert got(job()) == "GPU-bbbb"


def test_jobs_with_another_folder_for_temporary_files_know_of_each_other(
    machine, job, monkeypatch, tmp_path
):
    machine(LISTED.replace("UUID: GPU-", f"UUID: GPU-{os.getpid()}-"))
    code = JOB.replace("Path(sys.argv[2])", "None")
    monkeypatch.setattr(f"{__name__}.JOB", code)
    taken = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv("TMPDIR", str(tmp_path / name))
        taken.append(got(job()))
    for lock in gpus.TMP.glob(f"saev-gpu-GPU-{os.getpid()}-*.lock"):
        lock.unlink()
    assert taken == [f"GPU-{os.getpid()}-aaaa", f"GPU-{os.getpid()}-bbbb"]


def test_where_the_drivers_program_is_missing_the_files_of_devices_are_counted(
    machine, monkeypatch, tmp_path
):
    monkeypatch.setattr(gpus.shutil, "which", lambda name: None)
    monkeypatch.setattr(gpus, "DEVICES", tmp_path)
    assert gpus.present() == []
    for name in ("nvidia0", "nvidia3", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert gpus.present() == ["0", "1"]  # CUDA's numbers, whatever those of the files


def test_what_a_scheduler_or_mps_gave_is_left_as_it_is(machine, monkeypatch, tmp_path):
    machine(LISTED)
    monkeypatch.setenv(gpus.SHARED_BY_MPS, "/tmp/mps")
    gpus.take(1, tmp_path)
    assert gpus.VISIBLE not in os.environ
    monkeypatch.delenv(gpus.SHARED_BY_MPS)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv(gpus.VISIBLE, "0,1")
    gpus.take(1, tmp_path)
    assert os.environ[gpus.VISIBLE] == "0,1"
    assert not list(tmp_path.glob("*.lock"))


def test_too_few_gpus_are_said_and_no_gpu_is_no_error(machine, monkeypatch, tmp_path):
    machine("")
    gpus.take(1, tmp_path)
    assert gpus.VISIBLE not in os.environ
    machine(LISTED)
    with pytest.raises(UserError, match="processes: 4 need 4 GPUs, but there are 3 here"):
        gpus.take(4, tmp_path)


@pytest.mark.parametrize(
    "said",
    [
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n",
        "Unable to determine the device handle for GPU 0000:01:00.0: Unknown Error\n",
        "GPU 0: NVIDIA A100 (UUID: Unknown Error)\n",
    ],
)
def test_a_driver_that_fails_is_no_gpu(machine, said):
    machine(said)
    assert gpus.present() == []


def test_a_gpu_is_known_whatever_else_the_driver_prints(machine, tmp_path):
    machine("WARNING: infoROM is corrupted at gpu 0000:01:00.0\n" + LISTED)
    program = tmp_path / "nvidia-smi"
    program.write_bytes(program.read_bytes().replace(b"A100", b"A\xff"))
    assert gpus.present() == ["GPU-aaaa", "GPU-bbbb", "GPU-cccc"]


def test_a_driver_that_hangs_is_waited_for_and_said(machine, monkeypatch, tmp_path, said):
    machine("")
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(gpus, "ANSWER_SECONDS", 0.1)
    assert gpus.present() == []
    assert said().startswith("warning: nvidia-smi didn't answer for 0.1 seconds")


def test_a_variable_that_names_no_gpu_is_the_reason_why_there_is_none(machine, monkeypatch):
    machine(LISTED)
    monkeypatch.setattr("torch.version.cuda", "13.0")
    for given in ("", "0,0", "7"):
        monkeypatch.setenv(gpus.VISIBLE, given)
        assert machines._why_no_cuda() == (
            f"CUDA_VISIBLE_DEVICES is {given!r}, which names no GPU of this machine"
        )


@pytest.mark.parametrize(
    ("cuda", "raised", "why"),
    [
        (None, None, r"PyTorch \S+ was built without CUDA"),
        ("13.0", "The NVIDIA driver on your system is too old (found version 11040). Please …", ""),
        ("13.0", "Found no NVIDIA driver on your system", ""),
        ("13.0", "Unexpected error from cudaGetDeviceCount(). Error 802: system not yet …", ""),
    ],
)
def test_device_cuda_without_a_gpu_says_why(
    machine, monkeypatch, said, tmp_path, cuda, raised, why
):
    def fails():
        raise RuntimeError(f"{raised}\nand more")

    monkeypatch.setattr("torch.version.cuda", cuda)
    monkeypatch.setattr("torch.cuda.init", fails)
    why = why or re.escape(raised)
    with pytest.raises(UserError, match=f"compute.device is cuda, but .* no GPU here: {why}"):
        machines.job_device("cuda")


@pytest.fixture
def gpu(monkeypatch):
    """A GPU, as far as PyTorch tells of it."""
    facts = {"capability": (9, 0), "name": "NVIDIA H100", "arch_list": []}
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_arch_list", lambda: facts["arch_list"])
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: facts["capability"])
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device=None: facts["name"])
    return facts


def test_the_log_names_the_gpu_and_the_terminal_that_of_amd(machine, gpu, caplog, monkeypatch):
    machine("")
    caplog.set_level(logging.DEBUG, "saev")
    device = machines.job_device("auto")
    assert machines.kind(device) == "NVIDIA H100"
    monkeypatch.setattr("torch.version.hip", "7.0")
    gpu["name"] = "AMD Instinct MI300X"
    machines.job_device("auto")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("DEBUG", "computing on NVIDIA H100"),
        ("INFO", "computing on AMD Instinct MI300X (ROCm)"),
    ]


ALLOWED = """
import torch
from saev.activations.towers.precision import computing
from saev.core import machine

machine._why_no_cuda, machine.kind = lambda: None, str
switch = torch.backends.cuda.matmul
assert switch.fp32_precision == "tf32"
device = machine.job_device("auto")
assert switch.fp32_precision != "tf32" and not switch.allow_tf32
with computing(device, "tf32"):
    assert switch.fp32_precision == "tf32"
assert switch.fp32_precision != "tf32" and not switch.allow_tf32
"""


def test_a_container_that_allows_tf32_changes_no_product(machine):
    machine("")
    variables = {**os.environ, "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", ALLOWED], env=variables, check=True)


@pytest.mark.parametrize(
    ("capability", "runs"),
    [((7, 0), False), ((7, 5), True), ((8, 9), True), ((9, 0), True), ((11, 0), False)],
)
def test_a_gpu_for_which_pytorch_has_no_code_is_not_used(machine, gpu, capability, runs):
    machine("")
    gpu.update(capability=capability, arch_list=["sm_75", "sm_80", "sm_90a", "sm_120"])
    assert machines.job_device("auto").type == ("cuda" if runs else "cpu")
    if not runs:
        with pytest.raises(UserError, match="has no code for NVIDIA H100"):
            machines.job_device("cuda")
    gpu["arch_list"] = ["sm_75", "compute_80"]
    assert machines.torch_device().type == ("cpu" if capability == (7, 0) else "cuda")


@pytest.mark.slow
def test_trainings_ask_for_a_gpu_and_take_one_without_any_setting(machine, built, tmp_path):
    folder = tmp_path / "project"
    subprocess.run(["cp", "-a", built.folder, folder], check=True)
    project = Project(folder)
    machine("".join(LISTED.splitlines(keepends=True)[:2]))
    settings = project.settings()
    for name in ("cls", "patches"):
        settings["sae"][name]["seed"] = 7
    settings["compute"]["threads"] = 0
    project.configure(settings)
    # How many run at once: as many as there are GPUs, or as the command line says, as under MPS.
    for given, threads in ([], 4), (["--resources", "gpu=4"], 2):
        asked = ("train", "--dry-run", "--cores", "8", "--quiet", "host", *given)
        shown = project.snakemake(*asked).stdout
        assert shown.count("gpu=1") == shown.count(f"threads: {threads}") == 2
    shown = project.snakemake("match_runs", "--dry-run", "--cores", "8", "--quiet", "host").stdout
    assert "gpu=1" in shown.partition("rule match_runs:")[2].partition("rule ")[0]
    project.snakemake("train")
    logs = [path.read_text() for path in (folder / "logs").rglob("train_sae.log")]
    taken = [re.search(r"taking (\S+) of 2 GPUs", log) for log in logs if "taking" in log]
    assert len(taken) == 2
    assert {found[1] for found in taken} <= {"GPU-aaaa", "GPU-bbbb"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="PyTorch sees a GPU")
def test_a_job_notes_where_it_computes_and_warns_if_a_scheduler_gave_it_gpus_in_vain(
    monkeypatch, said, caplog
):
    caplog.set_level(logging.DEBUG, "saev")
    for given, warns in (("0", True), ("", False)):
        monkeypatch.setenv(gpus.VISIBLE, given)
        caplog.clear()
        machines.job_device("auto")
        if not Path("/dev/nvidiactl").exists():
            assert ("warning: this machine has GPUs, but" in said()) == warns
        assert said().endswith("computing on the processor")


def test_a_gpu_that_saev_does_not_use_is_named(monkeypatch, said):
    for name, words in (("backends.mps", "the GPU of this Mac"), ("xpu", "Intel's GPUs")):
        with monkeypatch.context() as there:
            there.setattr(f"torch.{name}.is_available", lambda: True)
            assert machines.job_device("auto").type == "cpu"
        assert f"saev doesn't use {words}" in said()
