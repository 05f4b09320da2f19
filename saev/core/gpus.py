"""The GPUs of this machine, and which of them a job takes.

CUDA numbers GPUs alike in every process, so all jobs of a workstation would compute on the first.
A job therefore takes a GPU that no other job of saev has, and hides the others from itself before
CUDA starts. It holds it by ``flock`` on a file of this machine, which the system lets go when the
process ends, however it ends.
"""

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from saev.core import logs
from saev.core.errors import UserError

VISIBLE = "CUDA_VISIBLE_DEVICES"
SHARED_BY_MPS = "CUDA_MPS_PIPE_DIRECTORY"
POLL_SECONDS = 0.5

_taken: list[IO[bytes]] = []
"""Lock files of the GPUs that this process has, open as long as it runs."""


def present() -> list[str]:
    """Names of the GPUs that jobs here may use, as `CUDA_VISIBLE_DEVICES` takes them.

    A variable that is set says it. Otherwise the driver does: the UUID of each GPU or, where one is
    split (MIG), of each of its parts.
    """
    given = os.environ.get(VISIBLE)
    if given is not None:
        names = [name.strip() for name in given.split(",")]
        # CUDA ignores everything from the first name on that is none.
        end = next((i for i, name in enumerate(names) if name in ("", "-1", "NoDevFiles")), None)
        return names[:end]
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        listed = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=False
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    gpus: list[list[str]] = []
    for line in listed.splitlines():
        uuid = re.search(r"UUID: ([\w/-]+)", line)
        if uuid and line.startswith("GPU "):
            gpus.append([uuid[1]])
        elif uuid and line.lstrip().startswith("MIG ") and gpus:
            gpus[-1].append(uuid[1])
    return [name for gpu in gpus for name in gpu[1:] or gpu]


def usable() -> list[str]:
    """Those of `present`, if the installed PyTorch has CUDA. Doesn't import it: that takes long."""
    torch = find_spec("torch")
    if torch is None or torch.origin is None:
        return []
    version = Path(torch.origin).with_name("version.py").read_text()
    return present() if re.search(r"^cuda\b.*= '", version, re.M) else []


def take(n: int = 1, locks: Path | None = None) -> None:
    """Take ``n`` GPUs for this process and its children. Wait until that many are free.

    Does nothing if this machine has none, if the process has taken some, or if a scheduler or MPS
    shares them out.

    Args:
        n: how many. 0 takes none: the process that started this one has taken them.
        locks: folder of the lock files, the same for all jobs of this machine.

    Raises:
        UserError: there are fewer.
    """
    names = usable() if n else []
    if _taken or not names or SHARED_BY_MPS in os.environ or _scheduled():
        return
    if len(names) < n:
        raise UserError(
            f"processes: {n} need {n} GPUs, but there are {len(names)} here: lower it, or ask the "
            f"scheduler for more"
        )
    said = False
    while True:
        held = _try(names, n, locks or Path(tempfile.gettempdir()))
        if len(held) == n:
            break
        if not said:
            logs.say(f"waiting for {f'{n} GPUs' if n > 1 else 'a GPU'}: other jobs have them")
            said = True
        time.sleep(POLL_SECONDS)
    _taken.extend(held.values())
    os.environ[VISIBLE] = ",".join(held)
    if len(names) > n:
        logs.say(f"taking {', '.join(held)} of {len(names)} GPUs")


def _scheduled() -> bool:
    """Whether a scheduler has given this process its GPUs."""
    return VISIBLE in os.environ and any(
        name in os.environ for name in ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")
    )


def _try(names: list[str], n: int, locks: Path) -> dict[str, IO[bytes]]:
    """Lock ``n`` of the GPUs, or none if fewer are free."""
    held: dict[str, IO[bytes]] = {}
    for name in names:
        file = _opened(locks / f"saev-gpu-{re.sub(r'[^A-Za-z0-9-]', '_', name)}.lock")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            continue
        held[name] = file
        if len(held) == n:
            return held
    for file in held.values():
        file.close()
    return {}


def _opened(path: Path) -> IO[bytes]:
    """A lock file, open. All users of the machine share it."""
    try:
        # In a folder with the sticky bit, some systems refuse to create what another user owns.
        return path.open("rb")
    except FileNotFoundError:
        file = path.open("ab")
        path.chmod(0o666)
        return file
