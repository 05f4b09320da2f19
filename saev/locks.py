"""Locks that hold on network file systems: a file made exclusively, with a heartbeat.

``flock`` is not reliable on every network file system; creating a file exclusively and renaming
are. The holder touches its file now and then; a file whose process is gone (same host), or that
was not touched for ``STALE_SECONDS`` (another host), is taken over.
"""

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from saev.errors import UserError

HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 120.0


def _process_started(pid: int) -> str | None:
    """When the kernel started process ``pid`` (so that a reused number isn't taken for it)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state == "Z" else fields[18]


def alive(pid: int, started: str | None = None) -> bool:
    """Whether process ``pid`` of this host lives (and is the one that the kernel ``started`` then)."""
    if Path("/proc/self/stat").exists():
        now = _process_started(pid)
        return now is not None and (started is None or now == started)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _read(path: Path) -> dict:
    """Who holds a lock; its ``pid`` is None if that can't be read: a crashed machine has left it."""
    try:
        record = json.loads(path.read_text())
        held = {key: record[key] for key in ("host", "pid", "started", "token")}
    except (ValueError, KeyError, TypeError):
        held = dict.fromkeys(("host", "pid", "started", "token"))
    return {**held, "touched": path.stat().st_mtime}


def _is_stale(holder: dict) -> bool:
    if holder["pid"] is None:
        return True
    if holder["host"] == socket.gethostname():
        return not alive(holder["pid"], holder["started"])
    return time.time() - holder["touched"] > STALE_SECONDS


class Lock:
    """An exclusive lock that is a file; use as a context manager, or ``acquire`` and ``release``.

    Args:
        path: the lock file.
        what: what is locked, for messages (``results/``).
    """

    def __init__(self, path: str | Path, what: str) -> None:
        self.path, self.what = Path(path), what
        self.token = secrets.token_hex(8)
        self._stop = threading.Event()

    def acquire(self, wait: bool = False, on_wait: Callable[[str], None] | None = None) -> bool:
        """Take the lock.

        Args:
            wait: wait for the holder to end; otherwise refuse at once.
            on_wait: called once with a text that names the holder, when there is one to wait for.

        Returns:
            True when another process held it first, so that its work may have been done meanwhile.

        Raises:
            UserError: it is held and ``wait`` is false, or its folder can't be written.
        """
        waited = False
        while not self._try():
            holder = self._holder()
            if holder is None or self._take_over_if_stale(holder):
                continue
            text = (
                f"{self.what} is in use by process {holder['pid']} on {holder['host']} "
                f"(lock file {self.path})"
            )
            if not wait:
                raise UserError(
                    f"{text}. Wait until it ends, or stop it; a lock left by a process that is "
                    f"gone is taken over by itself."
                )
            if not waited and on_wait:
                on_wait(f"{text}: waiting for it to end")
            waited = True
            time.sleep(0.2)
        threading.Thread(target=self._beat, daemon=True).start()
        return waited

    def held(self) -> bool:
        """Whether a process that lives holds it; nothing is taken over."""
        holder = self._holder()
        return holder is not None and not _is_stale(holder)

    def release(self) -> None:
        """Give the lock back (nothing happens when it was lost or never held)."""
        self._stop.set()
        holder = self._holder()
        if holder and holder.get("token") == self.token:
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> "Lock":
        self.acquire(wait=True)
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def _try(self) -> bool:
        record = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": _process_started(os.getpid()),
            "token": self.token,
        }
        # Written whole under another name and hard-linked: nobody ever reads half a lock.
        temporary = self.path.with_name(f"{self.path.name}.{self.token}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("w") as handle:
                handle.write(json.dumps(record))
                handle.flush()
                os.fsync(handle.fileno())
            os.link(temporary, self.path)
        except (FileExistsError, FileNotFoundError):
            # Held; or its folder was removed just now by one who was done with it: try again.
            return False
        except OSError as error:
            raise UserError(
                f"can't write {self.path.parent}: {error.strerror}. Check its rights and free space."
            ) from error
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def _holder(self) -> dict | None:
        try:
            return _read(self.path)
        except FileNotFoundError:
            return None

    def _take_over_if_stale(self, holder: dict) -> bool:
        stale = _is_stale(holder)
        if stale:
            # Only one of several waiters wins the rename, and it checks what it has taken.
            aside = self.path.with_name(f"{self.path.name}.stale.{self.token}")
            try:
                self.path.rename(aside)
            except FileNotFoundError:
                return True
            taken = _read(aside)
            if taken["token"] != holder["token"]:
                os.link(aside, self.path)
            aside.unlink()
        return stale

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            try:
                os.utime(self.path)
            except FileNotFoundError:
                return
