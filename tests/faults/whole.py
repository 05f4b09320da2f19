"""Faults that strike Snakemake itself while it runs the workflow, and its records."""

import os
import pty
import re
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from project import Project
from test_nothing_lost import group_members

from .jobs import Ran
from .strikes import LOST, NOT_TRIED, SURVIVED, Outcome, Scene
from .template import remove_from

STOPPED = "stopped: the same command resumes"


class AtTerminal:
    """Snakemake at a terminal of its own, as a person starts it."""

    def __init__(self, project: Project, target: str) -> None:
        self.text, self._status = "", None
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.chdir(project.folder)
            environment = project.environment() | {"NO_COLOR": "1", "TERM": "dumb"}
            os.execve(sys.executable, project.command(target), environment)

    def until(self, found: Callable[[str], bool], seconds: float = 180) -> bool:
        """Read what it says until it has said that, or ended (then False)."""
        end = time.monotonic() + seconds
        while not found(self.text):
            ready, _, _ = select.select([self._terminal], [], [], 0.05)
            try:
                said = os.read(self._terminal, 65536) if ready else None
            except OSError:  # the other end is closed
                said = b""
            if said == b"" or time.monotonic() > end:
                return False
            self.text += (said or b"").decode(errors="replace").replace("\r\n", "\n")
        return True

    def wait_a_while(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self.until(lambda _: time.monotonic() > end)

    def press_ctrl_c(self) -> None:
        """The terminal sends SIGINT to Snakemake and all its jobs."""
        os.write(self._terminal, b"\x03")

    def end(self) -> int:
        """Wait until it has ended; its exit status.

        Raises:
            AssertionError: it doesn't end. It has been killed, and its jobs too.
        """
        if self._status is None:
            ends = time.monotonic() + 180
            self.until(lambda _: False)
            if time.monotonic() > ends:
                os.killpg(self.pid, signal.SIGKILL)
                raise AssertionError(f"it doesn't end: {self.text}")
            self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            os.close(self._terminal)
        return self._status


def same_command(scene: Scene) -> Ran:
    done = scene.project.snakemake(scene.stage, check=False)
    return Ran(done.returncode == 0, done.stdout + done.stderr)


def struck(scene: Scene, told: str, strike: Callable[[AtTerminal], None]) -> Outcome:
    """Snakemake is struck up to 8 s after one of the stage's jobs began."""
    wait = scene.chance.choice([0.0, scene.chance.uniform(0, 8)])
    for _ in range(4):
        remove_from(scene.stage)
        run = AtTerminal(scene.project, scene.stage)
        if not run.until(lambda text: re.search(r"^\w.* …$", text, re.M) is not None):
            run.end()
            return Outcome(LOST, f"{told}: nothing began; {run.text[-1000:]}")
        run.wait_a_while(wait)
        scene.note_finished()
        strike(run)
        status = run.end()
        if status:
            break
        wait /= 2  # it was over before
    else:
        return Outcome(NOT_TRIED, f"{told}: it ended before")
    told += f" after {wait:.1f} s"
    again = same_command(scene)
    for pid in group_members(run.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return scene.judged(told, run.text, again)


def killed(scene: Scene) -> Outcome:
    return struck(scene, "kill -9 of snakemake", lambda run: os.kill(run.pid, signal.SIGKILL))


def all_killed(scene: Scene) -> Outcome:
    return struck(
        scene, "kill -9 of snakemake and its jobs", lambda run: os.killpg(run.pid, signal.SIGKILL)
    )


def terminated(scene: Scene) -> Outcome:
    return struck(
        scene, "SIGTERM to snakemake and its jobs", lambda run: os.killpg(run.pid, signal.SIGTERM)
    )


def interrupted(scene: Scene) -> Outcome:
    """Ctrl-C must end in one line."""
    texts = []

    def press(run: AtTerminal) -> None:
        at = len(run.text)
        run.press_ctrl_c()
        run.end()
        texts.append(run.text[at:])

    outcome = struck(scene, "Ctrl-C at a terminal", press)
    if outcome.verdict == SURVIVED and not texts[-1].rstrip().endswith(STOPPED):
        return outcome._replace(verdict=LOST, told=f"{outcome.told}; it ended in {texts[-1]!r}")
    return outcome


def records_spoilt(scene: Scene) -> Outcome:
    """What Snakemake and saev remember of earlier runs is damaged."""
    place = Path(scene.chance.choice([".snakemake", ".snakemake/metadata", "results/.plans"]))
    how = scene.chance.choice(["removed", "truncated", "foreign", "flipped"])
    if how == "removed":
        shutil.rmtree(place)
    for path in sorted(place.rglob("*")) if how != "removed" else ():
        if path.is_file() and path.suffix != ".log":
            data = path.read_bytes()
            if how == "truncated":
                data = data[: len(data) // 2]
            elif how == "foreign":
                data = b"\x00\xffnot a record\n"
            elif data:
                at = scene.chance.randrange(len(data))
                data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
            path.write_bytes(data)
    told = f"{place} {how}"
    if scene.chance.random() < 0.5:
        remove_from(scene.stage)
        told += ", with work to do"
    scene.note_finished()
    again = same_command(scene)
    return scene.judged(told, "", again)
