"""`run.json`: when, where and how a result was made. It isn't part of the result."""

import os
import platform
import resource
import shutil
import socket
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from saev.core.files import write_json
from saev.core.meta import RUN

PACKAGES = (
    *("saev-workflow", "torch", "open_clip_torch", "timm", "numpy", "pillow", "safetensors"),
    "snakemake",
)


class Provenance:
    """Collects what `run.json` says: who, where, when, how long, how much memory."""

    def __init__(self, stage: str, code: str, threads: int | None = None) -> None:
        self.stage, self.code, self.threads = stage, code, threads
        self.started = time.time()

    def write(self, folder: str | Path, name: str = RUN, **extra: Any) -> None:
        """Write ``run.json`` (or ``name``) into ``folder``, with ``extra`` values such as rates."""
        write_json(
            Path(folder) / name,
            {
                "stage": self.stage,
                "code": self.code,
                "git": git_revision(),
                "versions": {"python": platform.python_version(), **package_versions()},
                "host": socket.gethostname(),
                "threads": self.threads,
                "instructions": instructions(),
                "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.started)),
                "seconds": round(time.time() - self.started, 3),
                "peak_memory_bytes": peak_memory(),
                **extra,
            },
        )


def peak_memory() -> int:
    """Most memory that this process has held so far, in bytes."""
    try:  # as Linux's ``getrusage`` counts the memory of the process that started this one, too
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def instructions() -> str:
    """The processor's instruction set that PyTorch computes with, and what MKL was asked for."""
    torch = sys.modules.get("torch")  # a stage that computes nothing has none
    used = torch.backends.cpu.get_cpu_capability() if torch else platform.machine()
    return f"{used}, MKL_CBWR={os.environ.get('MKL_CBWR', 'unset')}"


def package_versions() -> dict[str, str]:
    """Versions of the installed packages that results may depend on."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_revision() -> str | None:
    """Revision of the code, if it lies in a git checkout and this machine has git."""
    git = shutil.which("git")
    if git is None:
        return None
    here = Path(__file__)
    said = ""
    # An installed package may lie in a checkout of something else, which doesn't hold its files.
    for question in (["ls-files", "--error-unmatch", here.name], ["rev-parse", "HEAD"]):
        command = [git, "-C", str(here.parent), *question]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
        except (OSError, subprocess.TimeoutExpired):  # ``code`` also identifies the code
            return None
        if done.returncode:
            return None
        said = done.stdout.strip()
    return said or None
