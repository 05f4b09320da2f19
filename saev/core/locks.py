"""Locks that work on network file systems: lock files with a heartbeat.

``flock`` isn't reliable on every network file system; hard links and renames are. We don't use
filelock (4.3.1): its lease takes over a lock by swapping two names, which NFS and SMB refuse, and
it never takes over an empty lock file.

The holder touches its file regularly. Another process takes the lock over in two cases: the holder
ran on the same host and its process is gone; or it runs on another host and hasn't touched the file
for ``STALE_SECONDS`` while somebody waited. The clocks of two machines are never compared: a
waiting process looks for a change of the file's time, and measures the wait by its own clock.
"""

import errno
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from saev.core.errors import UserError

HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 120.0
POLL_SECONDS = 0.2
ABANDONED_SECONDS = 86_400.0
"""Files of another host count as abandoned at this age. No two clocks differ by that much."""


def _process_started(pid: int) -> str | None:
    """When process ``pid`` started. Tells it from a later process with the same number."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state == "Z" else fields[18]


def alive(pid: int, started: str | None = None) -> bool:
    """Whether process ``pid`` runs on this host (and, if given, was ``started`` at that time)."""
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


class Holder(NamedTuple):
    """What a lock file says.

    All fields but ``beat`` are None if the file can't be parsed, as after a crash of the machine.
    """

    host: str | None
    pid: int | None
    started: str | None
    token: str | None
    """Random, new each time a lock is taken."""
    beat: int
    """When the file was last touched, in nanoseconds. The clock may be another machine's."""

    @classmethod
    def read(cls, file: BinaryIO) -> "Holder":
        """Read the holder from an open lock file."""
        beat = os.fstat(file.fileno()).st_mtime_ns
        try:
            record = json.loads(file.read())
            return cls(record["host"], record["pid"], record["started"], record["token"], beat)
        except (ValueError, KeyError, TypeError):
            return cls(None, None, None, None, beat)

    @classmethod
    def of(cls, path: Path) -> "Holder | None":
        """Who holds the lock ``path``; None if nobody does."""
        try:
            # Open it anew each time, so that an NFS client asks the server and not its cache.
            with path.open("rb") as file:
                return cls.read(file)
        except FileNotFoundError:
            return None

    def lives(self) -> bool | None:
        """Whether its process is running; None if it runs on another host."""
        if self.pid is None:
            return False
        return alive(self.pid, self.started) if self.host == socket.gethostname() else None


class Lock:
    """An exclusive lock file. Use it as a context manager, or call ``acquire`` and ``release``.

    Args:
        path: the lock file.
        what: what the lock protects, for messages (``results/``).
    """

    def __init__(self, path: str | Path, what: str) -> None:
        self.path, self.what = Path(path), what
        self._token = ""
        self._stop = threading.Event()
        self._seen: dict[str | None, tuple[int, float, float]] = {}
        """For holders on other hosts, by token: last beat, time of last look, seconds unchanged."""

    def acquire(self, wait: bool = False, on_wait: Callable[[str], None] | None = None) -> bool:
        """Take the lock.

        Args:
            wait: wait until the holder releases it. If False, raise an error as soon as the holder
                is known to be alive. For a holder on another host that takes some seconds, until
                its next heartbeat.
            on_wait: called once, with a text that names the holder, before waiting.

        Returns:
            True if this call had to wait for another process, which may have done the work.

        Raises:
            UserError: the lock is held and ``wait`` is False, or its folder isn't writable.
        """
        token, first = secrets.token_hex(8), None
        while True:
            try:
                if self._take(self.path, token):
                    break
                holder = Holder.of(self.path)
            except OSError as error:
                if error.errno != errno.ESTALE:  # the file was replaced while it was read
                    raise UserError(
                        f"can't write {self.path.parent}: {error.strerror}. Check its permissions "
                        f"and free space."
                    ) from error
                holder = None
            if holder:
                lives = holder.lives()
                text = f"{self._in_use_by(holder)} (lock file {self.path})"
                if not wait and (lives or (lives is None and first and holder != first)):
                    raise UserError(
                        f"{text}. Wait until it ends, or stop it. You needn't remove the lock "
                        f"file: a lock left by a process that is gone is freed automatically."
                    )
                if not first and on_wait:
                    on_wait(f"{text}: waiting for {'it to end' if wait else 'a sign of life'}")
                first = first or holder
            time.sleep(POLL_SECONDS)
        self._token, self._stop = token, threading.Event()
        threading.Thread(target=self._beat, args=(token, self._stop), daemon=True).start()
        return first is not None

    def held(self) -> bool:
        """Whether a live process holds the lock. Takes nothing over and doesn't wait.

        A lock of another host counts as held for a day after its last heartbeat.
        """
        holder = Holder.of(self.path)
        if holder is None:
            return False
        lives = holder.lives()
        return time.time() - holder.beat / 1e9 < ABANDONED_SECONDS if lives is None else lives

    def require(self) -> None:
        """Check that this process still holds the lock. Call it before writing what it protects.

        Raises:
            UserError: another process took the lock over, because this one was suspended or cut
                off; or the lock file is gone.
        """
        try:
            holder = Holder.of(self.path)
        except OSError:  # the server doesn't answer, so nobody can have got the lock
            return
        if holder is None or holder.token != self._token:
            now = self._in_use_by(holder) if holder else f"{self.what} is no longer locked"
            raise UserError(
                f"{now} (lock file {self.path}): another process took the lock over while this one "
                f"was suspended or cut off for {STALE_SECONDS:.0f} s, or somebody removed the "
                f"file. This process stops and writes nothing more. Run it again when the other "
                f"one has ended.",
                may_pass=True,
            )

    def release(self) -> None:
        """Release the lock. Does nothing if this process doesn't hold it."""
        self._stop.set()
        self._remove(self.path, self._token)

    def __enter__(self) -> "Lock":
        self.acquire(wait=True)
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def _in_use_by(self, holder: Holder) -> str:
        return f"{self.what} is in use by process {holder.pid} on {holder.host}"

    def _take(self, path: Path, token: str) -> bool:
        holder = Holder.of(path)
        if holder is None:
            return self._make(path, token)
        if holder.token == token:  # an earlier try got it, but was cut off before it knew
            return True
        if not self._is_gone(holder):
            return False
        # Two processes may find the holder gone at the same time. A second lock, the claim, decides
        # which of them succeeds it. It is renamed over the old lock, so the path is never empty.
        claim = path.with_name(f"{path.name}.{holder.token}")
        if not self._take(claim, token):
            return False
        try:
            if Holder.of(path) == holder:
                # The claim is gone if this process was suspended and another took it over.
                with suppress(FileNotFoundError):
                    claim.replace(path)
        finally:
            self._remove(claim, token)
        return self._is_at(path, token)

    def _make(self, path: Path, token: str) -> bool:
        pid = os.getpid()
        record = {
            "host": socket.gethostname(),
            "pid": pid,
            "started": _process_started(pid),
            "token": token,
        }
        # Write it under another name, then link it, so that nobody reads half a lock.
        whole = path.with_name(f"{path.name}.{token}.new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole.open("w") as handle:
                handle.write(json.dumps(record))
                handle.flush()
                os.fsync(handle.fileno())
            os.link(whole, path)
        except (FileExistsError, FileNotFoundError):
            # Somebody holds it, or has just removed its folder, or NFS ran the request twice.
            pass
        finally:
            whole.unlink(missing_ok=True)
        return self._is_at(path, token)

    def _is_at(self, path: Path, token: str) -> bool:
        holder = Holder.of(path)
        return holder is not None and holder.token == token

    def _remove(self, path: Path, token: str) -> None:
        with suppress(OSError):
            if self._is_at(path, token):
                path.unlink()

    def _is_gone(self, holder: Holder) -> bool:
        lives = holder.lives()
        if lives is not None:
            return not lives
        now = time.monotonic()
        beat, looked, unchanged = self._seen.get(holder.token, (None, now, 0.0))
        # Count only time in which this process could look: while it, or the server, was suspended,
        # the holder may have been alive.
        unchanged = unchanged + min(now - looked, 5 * POLL_SECONDS) if beat == holder.beat else 0.0
        self._seen[holder.token] = holder.beat, now, unchanged
        return unchanged > STALE_SECONDS

    def _beat(self, token: str, stop: threading.Event) -> None:
        while not stop.wait(HEARTBEAT_SECONDS):
            # If the server doesn't answer or has lost the file handle, try again at the next beat.
            with suppress(OSError), self.path.open("rb") as file:
                if Holder.read(file).token == token:
                    os.utime(file.fileno())
