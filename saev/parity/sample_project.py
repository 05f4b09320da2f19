"""Makes a part of a result again with the present code, in a scratch project beside the results."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from saev.core.errors import UserError
from saev.core.files import write_bytes, write_json
from saev.core.made import MADE, read_made
from saev.core.plan_file import PLANS
from saev.core.state import STATE
from saev.parity.lab import AS_GIVEN, INNER, NAME, command_line, failed, link_file, own_environment
from saev.workflow.digests import FILES

ALONE = {"train": {"together": False}}
"""A training of its own, also where the settings share passes."""
SECONDS = 0.1
HIGHEST = 4
"""How many `..` a path in the settings can begin with."""
OWN = ("results", "logs", ".snakemake", ".git", ".gitignore")
"""What a scratch project has of its own, or doesn't need."""


class Scratch:
    """A project that sees the files, settings and results of another, and writes elsewhere.

    Args:
        base: folder in the project to put it into; emptied first.
        project: the project, whose working folder is the present one.
        config: its settings.
        configfiles: settings files beside `config.yaml`.
        cores: how many to use.

    Raises:
        UserError: a path in the settings begins with more `..` than can be followed.
    """

    def __init__(
        self, base: Path, project: Path, config: Any, configfiles: list[str], cores: int
    ) -> None:
        shutil.rmtree(base, ignore_errors=True)
        self.folder = base.joinpath(*["up"] * (HIGHEST - 1), "project")
        self.project, self.cores = project, cores
        self.results = self.folder / "results"
        self.results.mkdir(parents=True)
        write_bytes(base / ".gitignore", b"*\n")
        for path in project.iterdir():
            if path.name not in (*OWN, base.name):
                (self.folder / path.name).symlink_to(path)
        for above in sorted(set(_above(config))):
            self._link_above(Path(above))
        (self.results / PLANS).mkdir()
        for path in (project / "results" / PLANS).iterdir():
            (self.results / PLANS / path.name).symlink_to(path)
        write_json(self.folder / "alone.json", ALONE)
        self._configfiles = [*(str(Path(p).absolute()) for p in configfiles), "alone.json"]

    def _link_above(self, path: Path) -> None:
        """Make a path like ``../data`` lead from here to where it leads from the project."""
        n = sum(part == ".." for part in path.parts)
        if n > HIGHEST:
            raise UserError(f"{path}: to make a sample again, write this as an absolute path")
        first = Path(*path.parts[: n + 1])
        link = Path(os.path.normpath(self.folder / first))
        if not link.exists():
            link.symlink_to(os.path.normpath(self.project / first))

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
        with log.open("w") as said:
            running = subprocess.Popen(
                command,
                cwd=self.folder,
                env=own_environment(),
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
            try:
                while running.poll() is None:
                    if until is not None and until():
                        return
                    time.sleep(SECONDS)
            finally:  # also if this program is stopped
                if running.poll() is None:
                    os.killpg(running.pid, signal.SIGTERM)
                    running.wait()
        if running.returncode:
            raise failed(doing, log)

    def _placed(self, path: Path) -> Path:
        return self.results / path.absolute().relative_to((self.project / "results").absolute())


def _above(value: Any) -> Iterator[str]:
    """Texts in settings that look like paths above the project."""
    if isinstance(value, str) and value.startswith("../"):
        yield value
    elif isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _above(inner)


def files_of(stamp: Path) -> list[Path]:
    """The files that a job made, with its stamp and record."""
    record = stamp.with_suffix(MADE)
    made: dict[str, Any] = read_made(record)
    names = [entry["name"] for entry in made.get("files", ())]
    return [stamp, record, *(stamp.parent / name for name in names)]
