"""The code of a revision, as a folder of its own that no later edit reaches."""

import hashlib
import io
import os
import secrets
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from saev.core.errors import UserError
from saev.core.planned import ROOT
from saev.workflow.digests import closure
from saev.workflow.stage import Stage

WORKTREE = "worktree"
"""Stands for the files as they are now, committed or not."""
COUNTED = ("Snakefile", "saev/**/*", "rules/*", "demo/*", "profiles/**/*")
"""Files that a run of the workflow reads."""
SHARED = (
    "Snakefile",
    "rules/common.smk",
    "rules/running.smk",
    "saev/workflow/*",
    "saev/settings/*",
)
"""Those that decide what the jobs of every stage are told."""


LOOPS = b"saev.core.compiled"
"""What files say that hold inner loops."""


class Code(NamedTuple):
    """The code of one revision."""

    name: str
    """As the user named it."""
    folder: Path
    key: str
    """Digest of its files, 16 hex digits. Equal code has an equal key, whatever its name."""
    commands: Mapping[str, str] = {}
    """Stages that are commands of the user's in place of code: see `saev.parity.script`."""

    def key_of(self, stage: Stage) -> str:
        """Digest of all files that a stage's jobs may run, 16 hex digits.

        Unlike the digest that decides about reruns, it counts every byte: comments, messages and
        exempt modules too. Of a command, only its text.
        """
        if stage.name in self.commands:
            return hashlib.sha256(self.commands[stage.name].encode()).hexdigest()[:16]
        modules = closure(f"{stage.module}.__main__", self.folder, lambda name: False)
        assets = self.folder.joinpath(*stage.module.split("."), "assets")
        shared = [path for pattern in SHARED for path in self.folder.glob(pattern)]
        own = self.folder / "rules" / f"{stage.name}.smk"
        paths = {*modules.values(), *assets.rglob("*"), *shared, own}
        return _digest(self.folder, paths)


def code_of(name: str, cache: Path, root: Path = ROOT) -> Code:
    """Copy the code of a revision into ``cache``. Changes nothing in ``root``, nor in its `.git`.

    Args:
        name: what git calls the revision, or `WORKTREE`.
        cache: folder for copies; each is made once.
        root: the clone of saev.

    Raises:
        UserError: there is no git here, no clone, or no such revision; or it isn't saev.
    """
    git = _git_in(root)
    cache.mkdir(parents=True, exist_ok=True)
    made = cache / f".{secrets.token_hex(4)}.tmp"
    try:
        if name == WORKTREE:
            _copy(
                _told(git, root, "ls-files", "-coz", "--exclude-standard").split(b"\0"), root, made
            )
        else:
            _extract(git, root, name, made)
        if not (made / "Snakefile").is_file() or not (made / "saev").is_dir():
            raise UserError(
                f"{name} holds no Snakefile and saev/, so there is nothing to run in it"
            )
        key = _digest(made, (p for pattern in COUNTED for p in made.glob(pattern)))
        if not (cache / key).exists():
            made.rename(cache / key)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return Code(name, (cache / key).absolute(), key)


def uncommitted(root: Path = ROOT) -> bool:
    """Whether files that a run of the workflow reads differ from those of the last commit."""
    folders = [pattern.split("/")[0] for pattern in COUNTED]
    return bool(_told(_git_in(root), root, "status", "--porcelain", "--", *folders))


def _git_in(root: Path) -> str:
    git = shutil.which("git")
    if git is None:
        raise UserError(
            "parity compares revisions, and there is no git on this machine: install it"
        )
    done = subprocess.run(
        [git, "-C", root, "rev-parse", "--show-toplevel"], capture_output=True, check=False
    )
    if done.returncode or Path(done.stdout.decode().strip()).resolve() != root.resolve():
        raise UserError(
            f"parity compares revisions, and {root} is no clone of saev: run it in a clone"
        )
    return git


def _told(git: str, root: Path, *question: str) -> bytes:
    done = subprocess.run([git, "-C", root, *question], capture_output=True, check=False)
    if done.returncode:
        raise UserError(f"git {question[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def _extract(git: str, root: Path, name: str, target: Path) -> None:
    found = subprocess.run(
        [
            git,
            "-C",
            root,
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            f"{name}^{{commit}}",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode:
        raise UserError(
            f"{name} is no revision of {root}, nor a folder of results: give a commit, a tag, a "
            f"branch, {WORKTREE}, or a folder"
        )
    data = _told(git, root, "archive", "--format=tar", found.stdout.strip())
    with tarfile.open(fileobj=io.BytesIO(data)) as held:
        held.extractall(target, filter="data")


def _copy(names: list[bytes], root: Path, target: Path) -> None:
    for name in filter(None, names):
        source = root / name.decode(errors="surrogateescape")
        if source.is_file():  # a file that was removed is still in git's list
            copied = target / source.relative_to(root)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, copied)


def _digest(folder: Path, paths: Iterable[Path]) -> str:
    total = hashlib.sha256()
    for path in sorted(p for p in set(paths) if p.is_file() and "__pycache__" not in p.parts):
        data = path.read_bytes()
        total.update(f"{path.relative_to(folder)}\0{len(data)}\0".encode() + data)
    return total.hexdigest()[:16]


def share_compiled(folder: Path, others: Iterable[Path]) -> None:
    """Take over the machine code of inner loops that another copy of the same loops has cached.

    Compiling takes longer than a small stage. A cached loop doesn't notice that one that it calls
    has changed, so it is taken over only if all files with loops are the same.

    Args:
        folder: a copy of the code.
        others: other copies.
    """
    mine = _with_loops(folder)
    for other in others:
        if other == folder or _with_loops(other) != mine:
            continue
        for name in mine:
            source, target = other / name, folder / name
            held = target.parent / "__pycache__"
            for path in (source.parent / "__pycache__").glob(f"{source.stem}.*.nb[ci]"):
                if not (held / path.name).exists():
                    held.mkdir(exist_ok=True)
                    # Numba compares the time of the source with that of when it compiled.
                    os.utime(target, ns=(source.stat().st_atime_ns, source.stat().st_mtime_ns))
                    shutil.copy(path, held / path.name)


def _with_loops(folder: Path) -> dict[str, bytes]:
    """The files that Numba compiles, by name."""
    found = {}
    for path in sorted(folder.glob("saev/**/*.py")):
        data = path.read_bytes()
        if LOOPS in data:
            found[path.relative_to(folder).as_posix()] = data
    return found
