"""Resumable state: what a stopped job leaves for the next try, protected by a lock."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from saev.core import logs
from saev.core.errors import UserError
from saev.core.files import canonical_json, sha256_bytes
from saev.core.locks import Lock

STATE = ".state"


class Held(NamedTuple):
    """A state that this process has locked."""

    folder: Path
    """Its folder."""
    lock: Lock

    def require(self) -> None:
        """Raise UserError if another process took over the state, and with it the result."""
        self.lock.require()

    def discard(self) -> None:
        """Remove the state when its work is complete, unless another process took it over."""
        with suppress(UserError):
            self.require()
            shutil.rmtree(self.folder)


@contextmanager
def state(target: str | Path, *parts: Any) -> Iterator[Held]:
    """Yield the locked resumable state of ``target``.

    It lies in ``.state/<digest>/`` in the target's directory. The digest covers everything that the
    result depends on (settings, inputs, code), so a job never resumes from the state of other work.
    Snakemake doesn't know about it, so it doesn't delete it. Call `discard` when the work is
    complete.

    If an orphan of a killed run is still writing, this waits until it ends.
    """
    base = Path(target) / STATE
    folder = base / sha256_bytes(canonical_json(parts).encode())[:16]
    lock = Lock(base / f"{folder.name}.lock", f"the state of {target}")
    lock.acquire(wait=True, on_wait=logs.say)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield Held(folder, lock)
    finally:
        lock.release()
        with suppress(OSError):  # another state may still be there
            base.rmdir()


@contextmanager
def scratch(target: str | Path, *parts: Any) -> Iterator[Held]:
    """Yield a locked folder for what takes the place of a result at the end; nothing of it is kept.

    Args:
        target, parts: as for `state`.
    """
    with state(target, *parts) as held:
        for left in held.folder.iterdir():  # of a job that was killed
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        try:
            yield held
        finally:
            held.discard()
