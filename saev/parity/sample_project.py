"""Makes a part of a result again with the present code, in a scratch project beside the results."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from saev.core.files import write_bytes, write_json
from saev.core.made import MADE, read_made
from saev.core.plan_file import PLANS
from saev.core.state import STATE
from saev.parity.lab import AS_GIVEN, INNER, NAME, command_line, failed, link_file
from saev.workflow.digests import FILES

ALONE = {"train": {"together": False}}
"""A training of its own, also where the settings share passes."""
SECONDS = 0.5


class Scratch:
    """A project that sees the files, settings and results of another, and writes elsewhere.

    Args:
        folder: where it lies; emptied first.
        project: the project, whose working folder is the present one.
        configfiles: settings files beside `config.yaml`.
        cores: how many to use.
    """

    def __init__(self, folder: Path, project: Path, configfiles: list[str], cores: int) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "results").mkdir(parents=True)
        write_bytes(folder.parent / ".gitignore", b"*\n")
        self.folder, self.project, self.cores = folder, project, cores
        self.results = folder / "results"
        for path in project.iterdir():
            if path.name not in (
                "results",
                "logs",
                ".snakemake",
                ".git",
                ".gitignore",
                folder.parent.name,
            ):
                (folder / path.name).symlink_to(path)
        (self.results / PLANS).mkdir()
        for path in (project / "results" / PLANS).iterdir():
            (self.results / PLANS / path.name).symlink_to(path)
        write_json(folder / "alone.json", ALONE)
        self._configfiles = [*(str(Path(p).absolute()) for p in configfiles), "alone.json"]

    def link(self, folder: Path, leave_out: Iterable[Path] = ()) -> None:
        """Link the files of a result, without those of results that lie inside of it."""
        without = set(leave_out)
        for path in sorted(folder.iterdir()):
            if path.is_dir():
                if not (NAME.fullmatch(path.name) or path.name in (*INNER, STATE)):
                    self.link(path, without)
            elif path not in without:
                link_file(path, self._placed(path))

    def make(self, stamp: Path, doing: str, until: Callable[[], bool] | None = None) -> None:
        """Run the job of a stamp, and those before it whose files aren't linked.

        Args:
            stamp: the stamp, in the project.
            doing: what this is, for messages.
            until: asked from time to time; when it is true, the job is stopped.

        Raises:
            Failed: a job fails.
        """
        target = self._placed(stamp).relative_to(self.folder)
        options = (*AS_GIVEN, "--configfile", *self._configfiles)
        command = command_line(FILES, self.folder, self.cores, [str(target)], *options)
        log = self.folder / "log.txt"
        kept = {k: v for k, v in os.environ.items() if k not in ("SAEV_PLAN", "SNAKEMAKE_PROFILE")}
        with log.open("w") as said:
            running = subprocess.Popen(
                command, cwd=self.folder, env=kept, stdout=said, stderr=said, start_new_session=True
            )
            while running.poll() is None:
                if until is not None and until():
                    os.killpg(running.pid, signal.SIGTERM)
                    running.wait()
                    return
                time.sleep(SECONDS)
        if running.returncode:
            raise failed(doing, log)

    def _placed(self, path: Path) -> Path:
        return self.results / path.absolute().relative_to((self.project / "results").absolute())


def files_of(stamp: Path) -> list[Path]:
    """The files that a job made, with its stamp and record."""
    record = stamp.with_suffix(MADE)
    made: dict[str, Any] = read_made(record)
    names = [entry["name"] for entry in made.get("files", ())]
    return [stamp, record, *(stamp.parent / name for name in names)]
