"""Plain messages for errors of the system: full disk, missing permission, out of memory."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
REMEDIES = {
    errno.ENOSPC: "the disk is full: free some space, then run the same command again",
    errno.EDQUOT: "your disk quota is used up: free some space, then run the same command again",
    errno.EFBIG: "the file is larger than allowed here: raise the limit (ulimit -f unlimited), or "
    "use another disk",
    errno.EROFS: "the file system is read-only: mount it writable, or use another folder",
    errno.EACCES: "permission denied: check the permissions of the file and its folders",
    errno.EPERM: "permission denied: check the permissions of the file and its folders",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n 4096)",
    errno.ENFILE: "too many files are open on this machine: close other programs",
    errno.ENOMEM: "out of memory: give the job more, or use smaller shards or batches",
    errno.EIO: "the disk reports an error: check the disk, its cable or its server",
    errno.ESTALE: "the network file system lost the file: check the server, then run again",
    errno.ENAMETOOLONG: "the name is too long for this file system: use shorter names or another "
    "folder",
    errno.ENOTDIR: "a file is where one of its folders should be: rename that file, then run the "
    "same command again",
    errno.ELOOP: "its symbolic links lead in a circle: correct them, then run the same command "
    "again",
    errno.ETXTBSY: "another program is using the file: close that program, then run again",
}
"""What to do, by error number."""
GONE = "its folder is gone: check that its disk is mounted, then run the same command again"
ON_GPU = (
    "the GPU is out of memory: close other programs on it, or use a GPU with more memory (or "
    "compute: {device: cpu}). A training needs less with a smaller batch_size, fewer n_latents, or "
    "fewer dictionaries in one pass (train: {together: false})"
)
FULL_GPU = re.compile(
    r"(CUDA|HIP|Cuda failure).*out of memory|CU[A-Z]+_STATUS_ALLOC_FAILED", re.IGNORECASE
)
"""What PyTorch's allocator, the driver, Triton, NCCL and NVIDIA's libraries say of it."""
NUMBER = re.compile(r"(?:os error|\[?errno)[ :]*(\d+)", re.IGNORECASE)
CUT_SHORT = re.compile(r"^\d+ requested and \d+ written$")
"""All that NumPy says of a disk that is full."""
MEMORY = re.compile(
    r"can't allocate memory|out of memory|Unable to allocate|std::bad_alloc|realloc"
)


@contextmanager
def filling(path: str | Path) -> Iterator[None]:
    """Name ``path`` in an error about a full disk, because errors of writing name no file."""
    try:
        yield
    except Exception as error:
        if _number(error) in FULL and getattr(error, "filename", None) is None:
            error.filename = os.fspath(path)  # type: ignore[attr-defined]
        raise


def explained(error: BaseException, folder: str | Path | None = None) -> str | None:
    """One line for the user if the system refused something; None for any other error.

    Libraries not written in Python raise errors of their own, with the system's error number in the
    text. These are recognised too.

    Args:
        error: what was raised.
        folder: where most is written, for a full disk if the error names no file.
    """
    text = str(error)
    if FULL_GPU.search(text):
        return ON_GPU
    if isinstance(error, MemoryError) or MEMORY.search(text):
        return REMEDIES[errno.ENOMEM]
    number, where = _number(error), getattr(error, "filename", None)
    place = ""
    if isinstance(where, (str, bytes, Path)):
        place = f"{_shown(where)}: "
        if number == errno.ENOENT and not Path(os.fsdecode(where)).parent.exists():
            return f"{place}{GONE}"
    if number not in REMEDIES:
        return None
    return f"{place}{REMEDIES[number]}{_free(where or folder) if number in FULL else ''}"


def _number(error: BaseException) -> int | None:
    """The system's number of an error."""
    number: int | None = getattr(error, "errno", None)
    if CUT_SHORT.search(str(error)):
        return errno.ENOSPC
    if number is None and not isinstance(error, OSError):
        found = NUMBER.search(str(error))
        number = int(found[1]) if found else None
    return number


def _shown(where: str | bytes | Path) -> str:
    name = where.decode(errors="replace") if isinstance(where, bytes) else str(where)
    # Show the final name of a temporary file.
    return re.sub(r"\.([^/]+?)\.[^/.]+\.\d+\.[0-9a-f]{8}\.tmp$", r"\1", name)


def _free(where: str | bytes | Path | None) -> str:
    """How much space is free where a file was to be written."""
    if where is None:
        return ""
    path = Path(os.fsdecode(where)).absolute()
    existing = next((p for p in (path, *path.parents) if p.exists()), None)
    if existing is None:
        return ""
    return f" ({shutil.disk_usage(existing).free / 1e6:,.1f} MB are free at {existing})"
