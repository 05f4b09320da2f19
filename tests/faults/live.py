"""Faults that strike one job at an instant: before one of the changes that it makes."""

import functools
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from .jobs import Job, Ran, Running, Watch, as_a_user, same_command, start, with_small_files
from .strikes import NOT_TRIED, Outcome, Scene
from .template import remove_from

RESULTS = Path("results")
OTHERS = re.compile(r"-[0-9a-f]{8}(/|$)")
"""Directories of what is made from a result."""


def prepared(scene: Scene) -> tuple[Job, int]:
    """Leave the stage undone but for the jobs before one; return that one and an instant."""
    remove_from(scene.stage)
    mine = [job for job in scene.jobs() if job.stage == scene.stage]
    struck = scene.chance.choice(mine)
    before = scene.jobs()[: scene.jobs().index(struck)]
    assert same_command(before).ok
    scene.note_finished()
    return struck, scene.chance.randrange(scene.template.changes[struck.stamp])


def signalled(scene: Scene, number: signal.Signals) -> Outcome:
    """A signal, at the instant or up to 50 ms after it."""
    job, instant = prepared(scene)
    watch = Watch(instant)
    running = start(job, watch)
    told = f"{number.name} to {job.rule} at change {instant}"
    if not watch.reached():
        return too_late(running, told)
    later = scene.chance.choice([0.0, scene.chance.uniform(0, 0.05)])
    if later:
        watch.go_on()
        time.sleep(later)
    with suppress(ProcessLookupError):
        os.kill(running.pid, number)
    if not later:
        watch.go_on()
    running.wait()
    return scene.judged(told, running.text(), same_command(scene.jobs()))


def orphaned(scene: Scene) -> Outcome:
    """The same command starts while the job of a killed Snakemake still writes."""
    job, instant = prepared(scene)
    watch = Watch(instant)
    orphan = start(job, watch)
    told = f"{job.rule} lives on from change {instant}"
    if not watch.reached():
        return too_late(orphan, told)
    second = start(job)
    time.sleep(scene.chance.uniform(0, 0.5))
    watch.go_on()
    statuses = orphan.wait(), second.wait()
    again = same_command(scene.jobs())
    failed = Ran(again.ok and not any(statuses), f"{second.text()}{again.text}")
    return scene.judged(told, orphan.text(), failed)


def too_late(running: Running, told: str) -> Outcome:
    running.wait()
    return Outcome(NOT_TRIED, f"{told}: it ended before; {running.text()[-500:]}")


def struck_disk(
    scene: Scene,
    told: str,
    strike: Callable[[Job], bool],
    mend: Callable[[], None],
    before: Callable[[], None] | None = None,
    refuses: bool = False,
) -> Outcome:
    """Something happens to the disk at an instant of a job, and is over when the job has ended.

    Args:
        strike: what happens; False if that isn't possible at this instant.
        before: called in the job's process before it begins.
        refuses: whether the job must fail if it still has to write where that happens.
    """
    job, instant = prepared(scene)
    n = scene.template.changes[job.stamp]
    for at in range(instant, n):
        watch = Watch(at)
        running = start(job, watch, before)
        if not watch.reached():
            return too_late(running, told)
        if strike(job):
            break
        os.kill(running.pid, signal.SIGKILL)  # files are open: try the next instant
        running.wait()
    else:
        return Outcome(NOT_TRIED, f"{told}: not possible at any instant")
    watch.go_on()
    status = running.wait()
    mend()
    text = running.text()
    if refuses and not status:
        return Outcome(NOT_TRIED, f"{told}: {job.rule} had nothing more to write there")
    told += f" in {job.rule} at change {at}: exit status {status}, {last_line(text)!r}"
    return scene.judged(told, text, same_command(scene.jobs()))


def last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]


def command(*words: str | Path) -> bool:
    """Run a command; False if it fails."""
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def mounted(size: str) -> bool:
    """Move ``results/`` to a disk of its own of ``size``; False if that isn't allowed."""
    shutil.copytree(RESULTS, "moved", copy_function=shutil.copy2)
    if os.geteuid() or not command("mount", "-t", "tmpfs", "-o", f"size={size}", "none", RESULTS):
        return False
    shutil.copytree("moved", RESULTS, dirs_exist_ok=True)
    return True


NO_MOUNT = Outcome(NOT_TRIED, "only root may mount a disk")


def full(scene: Scene) -> Outcome:
    """The disk has room for a part of what the job writes."""
    prepared(scene)
    names = [n for n in scene.differences() if n in scene.template.truth]
    need = sum(len(scene.template.truth[name]) for name in names)
    if not mounted("100m"):
        return NO_MOUNT
    scene.note_finished()
    used = sum(-(-p.stat().st_size // 4096) * 4 for p in RESULTS.rglob("*") if p.is_file())
    room = used + int(scene.chance.random() * need / 1024)
    if not command("mount", "-o", f"remount,size={room}k", RESULTS):
        return Outcome(NOT_TRIED, "the disk can't be made smaller")
    first = same_command(scene.jobs())
    if first.ok:
        return Outcome(NOT_TRIED, "there was enough room")
    command("mount", "-o", "remount,size=100m", RESULTS)
    scene.note_finished()
    told = f"{room - used} KiB free: {last_line(first.text.rpartition('(exit')[0])!r}"
    return scene.judged(told, first.text, same_command(scene.jobs()))


def small_files(scene: Scene) -> Outcome:
    """The system refuses files above a size (`ulimit -f`)."""
    job, _ = prepared(scene)
    largest = max(
        (len(scene.template.truth.get(name, b"")) for name in scene.differences()), default=4096
    )
    limit = scene.chance.randrange(64, max(65, largest))
    running = start(job, before=functools.partial(with_small_files, limit))
    status = running.wait()
    text = running.text()
    if not status:
        return Outcome(NOT_TRIED, f"no file of {job.rule} has more than {limit} bytes")
    told = f"files of {job.rule} up to {limit} bytes: {last_line(text)!r}"
    return scene.judged(told, text, same_command(scene.jobs()))


def read_only(scene: Scene) -> Outcome:
    """The disk becomes read-only."""
    if not mounted("100m"):
        return NO_MOUNT
    return struck_disk(
        scene,
        "read-only",
        lambda _: command("mount", "-o", "remount,ro", RESULTS),
        lambda: command("mount", "-o", "remount,rw", RESULTS) and None,
        refuses=True,
    )


def vanished(scene: Scene) -> Outcome:
    """The disk is gone, and comes back empty-handed: what was written meanwhile lies beneath it."""
    shutil.copytree(RESULTS, "disk", copy_function=shutil.copy2)
    if os.geteuid() or not command("mount", "--bind", "disk", RESULTS):
        return NO_MOUNT
    return struck_disk(
        scene,
        "results/ vanished",
        lambda _: command("umount", "-l", RESULTS),
        lambda: command("mount", "--bind", "disk", RESULTS) and None,
    )


def denied(scene: Scene) -> Outcome:
    """A folder of the result loses its permission to be written."""
    modes: dict[Path, int] = {}

    def strike(job: Job) -> bool:
        base = Path(job.stamp).parent
        folders = [
            p for p in base.rglob("*") if p.is_dir() and not OTHERS.search(str(p)[len(str(base)) :])
        ]
        folder = scene.chance.choice([base, *sorted(folders)])
        modes[folder] = folder.stat().st_mode
        folder.chmod(0o500)
        return True

    def mend() -> None:
        for folder, mode in modes.items():
            if folder.exists():
                folder.chmod(mode)

    return struck_disk(scene, "permission denied", strike, mend, as_a_user, refuses=True)


def clock_set_back(scene: Scene) -> Outcome:
    """All that was written so far is from tomorrow, and the job goes on."""

    def strike(_: Job) -> bool:
        for path in RESULTS.rglob("*"):
            if path.is_file() and path.name != ".lock":
                os.utime(path, (time.time() + 86400,) * 2)
        scene.note_finished()
        return True

    return struck_disk(scene, "clock set back by a day", strike, lambda: None)
