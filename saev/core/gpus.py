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
from typing import IO, NamedTuple

from saev.core import logs
from saev.core.errors import UserError

VISIBLE = "CUDA_VISIBLE_DEVICES"
SHARED_BY_MPS = "CUDA_MPS_PIPE_DIRECTORY"
POLL_SECONDS = 0.5
ANSWER_SECONDS = 60
"""How long nvidia-smi may take: where no daemon keeps the driver loaded, it wakes all GPUs."""
DEVICES = Path("/dev")

_taken: list[IO[bytes]] = []
"""Lock files of the GPUs that this process has, open as long as it runs."""


class Card(NamedTuple):
    """A GPU that the driver names."""

    model: str
    uuid: str
    parts: list[str]
    """UUIDs of its parts, if it is split (MIG)."""


def present() -> list[str]:
    """Names of the GPUs that jobs here may use, as `CUDA_VISIBLE_DEVICES` takes them.

    They are those that this variable names, or all if it isn't set. A name is the UUID, of a GPU or
    of a part of a split one (MIG), wherever the driver tells it: so jobs for which the variable is
    set, and others, know a GPU by the same name.
    """
    given = os.environ.get(VISIBLE)
    if given == "":
        return []  # don't wake GPUs that nobody may use
    cards = _cards()
    if given is None:
        if not cards and shutil.which("nvidia-smi") is None:
            return [str(i) for i in range(_device_files())]
        return [name for card in cards for name in card.parts or [card.uuid]]
    names: list[str] = []
    for name in given.split(","):
        known = _known(name.strip(), cards)
        if known is None:  # CUDA ignores this one and all that follow
            break
        names.append(known)
    return names if len(set(names)) == len(names) else []  # CUDA refuses one that is named twice


def _known(name: str, cards: list[Card]) -> str | None:
    """The UUID of what a name stands for in `CUDA_VISIBLE_DEVICES`, or the name if that isn't
    certain; None if it stands for nothing."""
    whole = [card.uuid for card in cards]
    if name.startswith("GPU-"):  # CUDA takes the beginning of a UUID, too
        found = [uuid for uuid in whole if uuid.startswith(name)]
        return name if not cards else found[0] if len(found) == 1 else None
    if name.startswith("MIG-"):
        return name
    if not (name.isascii() and name.isdecimal()):
        return None
    # CUDA counts fast GPUs first, nvidia-smi counts by slot. A split GPU has no number.
    by_slot = os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    alike = by_slot or len({card.model for card in cards}) == 1
    if not alike or any(card.parts for card in cards):
        return name
    return whole[int(name)] if int(name) < len(whole) else None


def _cards() -> list[Card]:
    """What the driver's program says; none if there is no such program or it fails."""
    try:
        listed = subprocess.run(
            ["nvidia-smi", "-L"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ANSWER_SECONDS,
            check=False,
        ).stdout
    except subprocess.TimeoutExpired:
        logs.say(f"warning: nvidia-smi didn't answer for {ANSWER_SECONDS} seconds: no job of saev "
                 f"can tell which GPUs are free")  # fmt: skip
        return []
    except OSError:
        return []
    cards: list[Card] = []
    for line in listed.splitlines():
        whole = re.match(r"GPU \d+: (.*) \(UUID: (GPU-[\w-]+)\)", line)
        part = re.match(r"\s*MIG .*\(UUID: (MIG-[\w/-]+)\)", line)
        if whole:
            cards.append(Card(whole[1], whole[2], []))
        elif part and cards:
            cards[-1].parts.append(part[1])
    return cards


def _device_files() -> int:
    """How many GPUs the system has a file for. A container may lack the driver's program."""
    return sum(path.name.removeprefix("nvidia").isdecimal() for path in DEVICES.glob("nvidia*"))


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
    if not n or _taken or SHARED_BY_MPS in os.environ or _scheduled():
        return
    names = usable()
    if not names:
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
