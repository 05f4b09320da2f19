"""The jobs of the tiny project, each a process forked from one that has imported everything.

A fork starts in milliseconds, where a job of Snakemake takes seconds to import PyTorch. It has the
command line that Snakemake would give it, and it can be killed.
"""

import ctypes
import importlib
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from project import Project

from saev.core import frame
from saev.core.made import MADE
from saev.core.plan_file import PLAN_VARIABLE
from saev.workflow import jobs as planned
from saev.workflow.plan import Plan
from saev.workflow.stages import BY_NAME, RULES

STAGES = ("images", "activations", "train", "labels", "analyze", "dashboard", "gallery")
PRELOADED = [
    *(f"{BY_NAME[stage].module}.__main__" for stage in STAGES),
    *("saev.tools.__main__", "saev.tools.check", "open_clip", "matplotlib.pyplot"),
]
"""What the process imports from which jobs are forked."""
CHANGES = ("os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir", "os.truncate")
WRITING = os.O_WRONLY | os.O_RDWR
DAC_OVERRIDE_AND_SEARCH = 0b110
"""The rights by which root passes over modes of files."""


class Job(NamedTuple):
    """A job as Snakemake starts it, with paths from the project's folder."""

    rule: str
    stamp: str
    arguments: tuple[str, ...]
    """What stands after ``python -m``."""

    @property
    def stage(self) -> str:
        return RULES[self.rule][0].name

    @property
    def made(self) -> str:
        """Its record of what it made."""
        return str(Path(self.stamp).with_suffix(MADE))


def all_jobs(project: Project) -> list[Job]:
    """All jobs of a project without results, in an order in which they can run."""
    done = project.snakemake("--dry-run", "--printshellcmds", "--quiet", "host")
    text = done.stdout + done.stderr
    found = re.findall(
        # Those with one output, their stamp: what finishes a page or shows sweeps has more.
        r"^rule (\w+):\n(?:(?!rule ).*\n)*?    output: (\S+)\n(?:(?!rule ).*\n)*?"
        r"Shell command: python -m (.*)$",
        text,
        re.M,
    )
    shell = "".join(f"printf '%s\\0' {command}; echo\n" for _, _, command in found)
    lines = subprocess.run(
        ["bash", "-c", shell], cwd=project.folder, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [
        Job(rule, stamp, tuple(line.rstrip("\0").split("\0")))
        for (rule, stamp, _), line in zip(found, lines, strict=True)
    ]


def plan_of(folder: Path) -> Path:
    """The plan that the jobs of a project read, from its folder."""
    (plan,) = (
        path
        for path in (folder / "results/.plans").glob("*.json")
        if re.fullmatch("[0-9a-f]{16}", path.stem)
    )
    return plan.relative_to(folder)


class Watch:
    """Counts what a job changes under ``results/``, and stops it at one of these instants.

    Args:
        instant: number of the change before which the job waits, from 0; None only counts.
    """

    def __init__(self, instant: int | None = None) -> None:
        self.instant, self.n = instant, 0
        self._said, self._say = os.pipe()
        self._listen, self._answer = os.pipe()

    def start(self) -> None:
        """In the job: count from now on."""
        sys.addaudithook(self._hook)

    def reached(self) -> bool:
        """In the striker: wait until the job is there; False if it ended before."""
        os.close(self._say)
        return os.read(self._said, 1) != b""

    def go_on(self) -> None:
        """In the striker: let the job go on."""
        os.write(self._answer, b"x")

    def _hook(self, event: str, given: tuple) -> None:
        if event not in ("open", *CHANGES) or "results" not in str(given[0]):
            return
        if event == "open" and not ((given[2] or 0) & WRITING):
            return
        self.n += 1
        if self.n - 1 == self.instant:
            os.write(self._say, b"x")
            os.read(self._listen, 1)


class Running(NamedTuple):
    """A job that was started."""

    pid: int
    output: Path
    """What it says on its terminal."""

    def wait(self, seconds: float = 120) -> int:
        """Its exit status, negative for a signal. One that hangs is killed: then -99."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        return -99

    def text(self) -> str:
        return self.output.read_text()


def start(
    job: Job,
    watch: Watch | None = None,
    before: Callable[[], None] | None = None,
) -> Running:
    """Start a job in the current folder, as Snakemake does: its stamp is removed first.

    Args:
        watch: counts what it changes.
        before: called in its process before it begins.
    """
    return fork(job.arguments, Path(f"said.{time.monotonic_ns()}"), watch, before, Path(job.stamp))


def fork(
    arguments: tuple[str, ...],
    output: Path,
    watch: Watch | None = None,
    before: Callable[[], None] | None = None,
    stamp: Path | None = None,
) -> Running:
    """Run ``python -m arguments`` in a fork of this process."""
    if stamp:
        stamp.unlink(missing_ok=True)
        stamp.parent.mkdir(parents=True, exist_ok=True)
    output.touch()
    pid = os.fork()
    if pid:
        return Running(pid, output)
    status = 70
    try:
        said = os.open(output, os.O_WRONLY | os.O_APPEND)
        os.dup2(said, 1)
        os.dup2(said, 2)
        sys.stdout, sys.stderr = open(1, "w"), open(2, "w")  # noqa: SIM115
        sys.argv = list(arguments)
        if before:
            before()
        module = importlib.import_module(f"{arguments[0]}.__main__")
        if watch:
            watch.start()
        if arguments[0] == "saev.tools":
            module.main()
        frame.run(module.main)
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        if watch and watch.instant is None:
            output.with_suffix(".count").write_text(str(watch.n))
        os._exit(status)


def as_a_user() -> None:
    """Take from root the right to pass over modes of files, so that a refusal is one."""
    if os.geteuid():
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    rights = (ctypes.c_uint32 * 6)()
    if libc.capget(header, rights):
        raise OSError(ctypes.get_errno(), "capget")
    for at in range(3):
        rights[at] &= ~DAC_OVERRIDE_AND_SEARCH
    if libc.capset(header, rights):
        raise OSError(ctypes.get_errno(), "capset")


def with_small_files(n_bytes: int) -> None:
    """Refuse files of more than ``n_bytes``, as `ulimit -f` does."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))


class Ran(NamedTuple):
    """One run of the same command."""

    ok: bool
    text: str
    """What its jobs said."""


def same_command(jobs: list[Job]) -> Ran:
    """Run the jobs that aren't done, in order, until one fails: what Snakemake does.

    The current folder is that of the project.
    """
    plan = Plan.load(os.environ[PLAN_VARIABLE])
    mine = {job.stamp for job in jobs}
    planned.settle([job for job in planned.jobs(plan) if str(job.stamp) in mine])
    text = ""
    for job in jobs:
        if Path(job.stamp).exists():
            continue
        running = start(job)
        status = running.wait()
        text += f"$ {job.rule}\n{running.text()}"
        if status:
            return Ran(False, f"{text}(exit status {status})\n")
    return Ran(True, text)


def deep_check() -> str:
    """What `saev check --deep` says."""
    running = fork(("saev.tools", "check", "--deep"), Path(f"said.{time.monotonic_ns()}"))
    running.wait()
    return running.text()
