"""The frame of every stage's command line: arguments, log, errors, state, and `run.json`."""

import argparse
import json
import os
import platform
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from saev import logs
from saev.errors import UserError
from saev.files import canonical_json, sha256_bytes, write_json
from saev.locks import Lock

if TYPE_CHECKING:
    import torch

PLAN_VARIABLE = "SAEV_PLAN"
STATE = ".state"
PACKAGES = ("torch", "open_clip_torch", "timm", "numpy", "pillow", "safetensors", "snakemake")


class Spec(NamedTuple):
    """What a job is told: the content of a rule's one parameter."""

    settings: dict[str, Any]
    """Settings of the job's component."""
    code: str
    """Digest of the stage's code."""
    versions: dict[str, str]
    """Versions of libraries that can change the bytes (of the recording stage)."""


def parser(description: str) -> argparse.ArgumentParser:
    """A parser with the arguments that every stage takes."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--spec",
        required=True,
        help='JSON: {"settings": {…}, "code": "digest of the code"}, as the workflow passes it',
    )
    made.add_argument("--log", help="file that progress and errors are written to as well")
    made.add_argument("--threads", type=int, default=os.cpu_count(), help="threads to compute with")
    return made


def read_spec(text: str) -> Spec:
    """Parse ``--spec``.

    Raises:
        UserError: it isn't such JSON.
    """
    try:
        value = json.loads(text)
        return Spec(value["settings"], value.get("code", ""), value.get("versions", {}))
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(f'--spec must be JSON like {{"settings": {{…}}}}: {error!r}') from error


def compute() -> dict[str, Any]:
    """Settings that can't change a result (device, decoding threads), from the plan of this run.

    Returns:
        ``device``, ``workers``, ``data_in_memory``, ``on_bad_image`` by name of the images'
        directory, ``wandb`` and
        ``wandb_project``; without a plan (a stage run by hand) there is no wandb.
    """
    defaults = {
        "device": "auto",
        "workers": 2,
        "data_in_memory": "auto",
        "on_bad_image": {},
        "wandb": "disabled",
        "wandb_project": "saev",
    }
    path = os.environ.get(PLAN_VARIABLE)
    if not path:
        return defaults
    try:
        return defaults | json.loads(Path(path).read_bytes())["compute"]
    except FileNotFoundError as error:
        raise UserError(f"${PLAN_VARIABLE} names {path}, which doesn't exist") from error


def torch_device(name: str = "auto") -> "torch.device":
    """The device called ``name``; ``auto`` is a GPU if there is one.

    Raises:
        UserError: ``cuda`` is asked for and there is none.
    """
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("compute.device is cuda, but PyTorch sees no GPU here: use auto or cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def set_threads(n: int) -> None:
    """Let PyTorch compute with ``n`` threads."""
    import torch

    torch.set_num_threads(max(1, n))


class Record:
    """Collects what `run.json` says: who, where, when, how long, how much memory."""

    def __init__(self, stage: str, spec: Spec, threads: int | None = None) -> None:
        self.stage, self.spec, self.threads = stage, spec, threads
        self.started = time.time()

    def write(self, folder: str | Path, name: str = "run.json", **extra: Any) -> None:
        """Write ``run.json`` (or ``name``) of ``folder``; ``extra`` is rates and the like."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        write_json(
            Path(folder) / name,
            {
                "stage": self.stage,
                "code": self.spec.code,
                "git": git_revision(),
                "versions": {"python": platform.python_version(), **package_versions()},
                "host": socket.gethostname(),
                "threads": self.threads,
                "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.started)),
                "seconds": round(time.time() - self.started, 3),
                "peak_memory_bytes": peak if sys.platform == "darwin" else peak * 1024,
                **extra,
            },
        )


def package_versions() -> dict[str, str]:
    """Versions of the installed packages that results may depend on."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_revision() -> str | None:
    """Revision of the code, if it lies in a git checkout."""
    done = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or None if shutil.which("git") else None


@contextmanager
def state(target: str | Path, *parts: Any) -> Iterator[Path]:
    """Yield the locked folder with the resumable state of ``target``.

    It lies at ``.state/<digest>/`` in the target's directory, keyed by everything that the result
    depends on (settings, inputs, code), so that a state of other work is never taken up. Snakemake
    doesn't know of it and so doesn't delete it. Work that is complete calls `discard`.

    An orphan of a killed run may still be writing: then this waits until it ends.
    """
    base = Path(target) / STATE
    folder = base / sha256_bytes(canonical_json(parts).encode())[:16]
    lock = Lock(base / f"{folder.name}.lock", f"the state of {target}")
    lock.acquire(wait=True, on_wait=logs.say)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    finally:
        lock.release()
        with suppress(OSError):  # another state may still be there
            base.rmdir()


def discard(folder: Path) -> None:
    """Remove a state whose work is complete."""
    shutil.rmtree(folder)


class Stopped(SystemExit):
    """Raised in the main thread on SIGTERM and Ctrl-C, so that ``finally`` blocks run and state is saved."""


def _stop(number: int, frame: Any) -> None:
    raise Stopped(128 + number)


def run(main: Callable[[list[str]], None]) -> None:
    """Run a stage's ``main(arguments)`` as a program: a UserError is a line and exit status 1.

    An error that isn't the user's goes to the log with its traceback, and to the terminal as one
    line that says where.
    """
    arguments = sys.argv[1:]
    log = arguments[arguments.index("--log") + 1] if "--log" in arguments[:-1] else None
    if log:
        Path(log).parent.mkdir(parents=True, exist_ok=True)
        Path(log).write_text("")
    logs.open_log(log)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    try:
        main(arguments)
    except UserError as error:
        logs.say(f"error: {error}")
        raise SystemExit(1) from None
    except MemoryError:
        logs.say("error: out of memory: give the job more, or use smaller shards or batches")
        raise SystemExit(1) from None
    except Exception as error:
        logs.note(traceback.format_exc())
        if log is None:
            traceback.print_exc()
        logs.say(
            f"internal error: {type(error).__name__}: {error}"
            + (f" (traceback in {log}; please report it)" if log else "")
        )
        raise SystemExit(2) from None
