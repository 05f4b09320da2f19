"""Files that are complete or absent: write a temporary file, sync it, then rename it."""

import hashlib
import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from saev.core.errors import UserError
from saev.core.locks import alive
from saev.core.system_errors import explained, filling

CHUNK = 1 << 20


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``. On success, sync it and rename it to ``path``.

    The temporary name contains the host, the process and a random part. So two writers (a job, and
    the orphan of a killed run) never share one. On any exception the temporary file is removed, and
    ``path`` stays as it was.

    Raises:
        UserError: the folder isn't writable.
    """
    path = Path(path)
    temporary = path.with_name(
        f".{path.name}.{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_left_over(path)
        temporary.touch()
    except OSError as error:
        raise UserError(
            f"can't write {explained(error) or f'{path}: {error.strerror}'}", may_pass=True
        ) from error
    try:
        with filling(path):
            yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _remove_left_over(path: Path) -> None:
    """Remove temporary files that killed writers of ``path`` on this host have left."""
    prefix = f".{path.name}.{socket.gethostname()}."
    for left in path.parent.iterdir():
        if left.name.startswith(prefix) and left.name.endswith(".tmp"):
            pid = left.name.removeprefix(prefix).partition(".")[0]
            if pid.isdigit() and not alive(int(pid)):
                left.unlink(missing_ok=True)


def place(made: Path, target: Path) -> None:
    """Replace ``target`` by the complete file ``made``, atomically.

    On a disk with hard links, ``made`` stays as a second name of the file.
    """
    temporary = target.with_name(
        f".{target.name}.{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    )
    _remove_left_over(target)
    try:
        os.link(made, temporary)
    except OSError:  # this disk has no hard links
        made.replace(target)
    else:
        temporary.replace(target)
        temporary.unlink(missing_ok=True)  # renaming onto the same file does nothing
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in ``folder`` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path``, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def to_json(value: Any) -> bytes:
    """Encode ``value`` as JSON for a file: sorted keys, no NaN, a newline at the end.

    Raises:
        ValueError: ``value`` contains NaN or infinity.
    """
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def canonical_json(value: Any) -> str:
    """Encode ``value`` as one line of JSON for digests and specs, the same for equal values."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as JSON to ``path``, atomically."""
    write_bytes(path, to_json(value))


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: it is missing or not JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise UserError(
            f"{path} is missing: run the stage that makes it, or check the path"
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path} is not JSON ({error}): remove it and run again") from error


def sha256_bytes(data: bytes | memoryview) -> str:
    """SHA-256 of ``data``, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: str | Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits. Reads the file in pieces."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def file_entry(path: str | Path, name: str | None = None) -> dict[str, Any]:
    """Describe a file for ``meta.json``: ``name``, ``bytes`` and ``sha256``."""
    path = Path(path)
    return {
        "name": name or path.name,
        "bytes": path.stat().st_size,
        "sha256": sha256_file(path),
    }


def folder_entry(folder: str | Path, name: str) -> dict[str, Any]:
    """Describe all files under ``folder/name`` in one entry; ``files`` is their number.

    ``sha256`` is taken over one line ``path NUL bytes NUL sha256`` per file, sorted by path.
    """
    folder = Path(folder)
    paths = sorted(p for p in (folder / name).rglob("*") if p.is_file())
    entries = [file_entry(p, p.relative_to(folder).as_posix()) for p in paths]
    text = "".join(f"{e['name']}\0{e['bytes']}\0{e['sha256']}\n" for e in entries)
    return {
        "name": name,
        "files": len(entries),
        "bytes": sum(e["bytes"] for e in entries),
        "sha256": sha256_bytes(text.encode()),
    }
