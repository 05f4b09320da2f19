"""Which faults there are, and how a strike is run."""

import os
import shutil
import signal
import traceback
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from . import live, rest, whole
from .jobs import STAGES
from .strikes import LOST, Fault, Outcome, Scene
from .template import Template, enter

OF_MANY_FILES = STAGES[1:-1]
FAULTS = {
    "kill -9 of a job": Fault(partial(live.signalled, number=signal.SIGKILL)),
    "a flipped bit": Fault(rest.flipped),
    "kill -9 of snakemake": Fault(whole.killed),
    "a full disk": Fault(live.full),
    "SIGTERM to a job": Fault(partial(live.signalled, number=signal.SIGTERM)),
    "a truncated file": Fault(rest.truncated),
    "an orphaned job": Fault(live.orphaned),
    "Ctrl-C at a terminal": Fault(whole.interrupted),
    "a read-only disk": Fault(live.read_only),
    "swapped files": Fault(rest.swapped, OF_MANY_FILES),
    "SIGINT to a job": Fault(partial(live.signalled, number=signal.SIGINT)),
    "a disk that vanishes": Fault(live.vanished),
    "kill -9 of both": Fault(whole.all_killed),
    "a foreign file": Fault(rest.foreign),
    "permission denied": Fault(live.denied),
    "a limit on file size": Fault(live.small_files),
    "SIGTERM to both": Fault(whole.terminated),
    "a removed file": Fault(rest.removed),
    "a clock set back": Fault(live.clock_set_back),
    "spoilt records": Fault(whole.records_spoilt),
}
"""Strikes take turns in this order."""


class Strike(NamedTuple):
    """A fault and the stage that it strikes. Its seed chooses the rest."""

    seed: int
    fault: str
    stage: str


def chosen(seed: int) -> Strike:
    """The strike of a seed: 20 seeds in a row strike with every fault, and vary the stages."""
    turn, at = divmod(seed, len(FAULTS))
    fault = list(FAULTS)[at]
    stages = FAULTS[fault].stages
    return Strike(seed, fault, stages[(at * 5 + turn) % len(stages)])


def run(pool: ProcessPoolExecutor, template: Template, strike: Strike, folder: Path) -> Outcome:
    """Run a strike in a process of its own, in a folder that is removed afterwards."""
    return pool.submit(_run, template, strike, folder).result(timeout=600)


def _run(template: Template, strike: Strike, folder: Path) -> Outcome:
    own_mounts()
    template.copy(folder)
    enter(folder, template.plan)
    try:
        scene = Scene(template, strike.seed, strike.stage)
        return FAULTS[strike.fault].strike(scene)
    except Exception:
        return Outcome(LOST, f"the strike itself failed: {traceback.format_exc()}")
    finally:
        os.chdir("/")
        for _ in range(2):
            live.command("umount", "-l", folder / "results")
        shutil.rmtree(folder, ignore_errors=True)


def own_mounts() -> None:
    """Mount what follows for this process and its children alone."""
    import ctypes

    new_mounts = 0x00020000
    if os.geteuid() == 0 and ctypes.CDLL(None).unshare(new_mounts) == 0:
        live.command("mount", "--make-rprivate", "/")


def scratch_folder() -> str | None:
    """Where to copy projects to: in memory, if there is such a disk, as jobs sync their files."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
