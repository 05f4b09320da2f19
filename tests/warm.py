"""A `python` for tests' projects, which forks a program that has imported Snakemake and PyTorch.

Those imports take each program seconds, and tests start hundreds. Only `python -m snakemake` and
`python -m saev.…` are forked, where libraries are told what they were told before. Everything else,
and whatever a test strikes, starts as it does for a user.
"""

import atexit
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from contextlib import suppress
from pathlib import Path

IMPORTED = (
    *("torch", "torchvision", "numba", "open_clip", "timm", "pydantic", "jaxtyping", "beartype"),
    *("pyarrow.parquet", "pyarrow.compute", "safetensors.torch", "matplotlib.axes", "PIL.Image"),
    *("pandas", "snakemake.cli"),
)
AT_START = (
    *("ATEN", "HF_", "MKL", "NPY", "NUMBA", "OMP", "ONEDNN", "OPENBLAS", "PYTHON", "TORCH"),
    "TRITON",
)
"""What libraries read from the environment when they are imported, by how the names begin."""
THREADS = tuple(f"{name}_NUM_THREADS" for name in ("OMP", "OPENBLAS", "MKL"))
"""They don't count: jobs are told their threads by an argument."""
STARTED: dict[tuple[tuple[str, str], ...], str] = {}
"""Each `python` that has been started, by what libraries were told."""

CLIENT = """#!{python} -IS
import json, os, signal, socket, sys
at_start = {{k: v for k, v in os.environ.items() if k.startswith({prefixes})}}
for name in ("PYTHONPATH", *{threads}):
    at_start.pop(name, None)
module = sys.argv[2] if sys.argv[1:2] == ["-m"] else ""
if not (module == "snakemake" or module.startswith("saev.")) or at_start != {at_start}:
    # The jobs of a workflow take the `python` beside its own.
    python = __file__ + "3" if module == "snakemake" else {python!r}
    os.execv(python, [python, *sys.argv[1:]])
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, _: server.send(bytes([number])))
umask = os.umask(0)
asked = json.dumps([sys.argv[2:], os.getcwd(), dict(os.environ), umask]).encode()
socket.send_fds(server, [len(asked).to_bytes(8)], [0, 1, 2])
server.sendall(asked)
sys.exit(int(server.makefile().read() or 1))
"""


def interpreter() -> str:
    """The `python` that forks, of an environment like this one.

    The program that it forks ends with this one.
    """
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    own = ("PYTHONPATH", *THREADS)  # of each that is forked
    at_start = {k: v for k, v in environment.items() if k.startswith(AT_START) and k not in own}
    told = tuple(sorted(at_start.items()))
    if told not in STARTED:
        STARTED[told] = _start(at_start)
    return STARTED[told]


def _start(at_start: dict[str, str]) -> str:
    """Start a program to fork, whose libraries are told this; return its `python`."""
    folder = tempfile.mkdtemp(prefix="warm-")
    own = Path(sys.prefix)
    for name in ("pyvenv.cfg", "lib"):
        if (own / name).exists():
            Path(folder, name).symlink_to(own / name)
    programs = Path(folder, "bin")
    programs.mkdir()
    (programs / "python3").symlink_to(sys.executable)
    address = f"{folder}/socket"
    others = {k: v for k, v in os.environ.items() if not k.startswith(AT_START)}
    server = subprocess.Popen(
        [sys.executable, __file__, address, str(os.getpid())],
        env={**others, **at_start, **dict.fromkeys(THREADS, "1")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    atexit.register(server.kill)
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    client = programs / "python"
    client.write_text(
        CLIENT.format(
            python=sys.executable,
            prefixes=AT_START,
            at_start=at_start,
            threads=THREADS,
            address=address,
        )
    )
    client.chmod(0o755)
    return str(client)


def serve(address: str, parent: int) -> None:
    """Fork for each connection, until the program that started this one has ended."""
    for name in IMPORTED:
        __import__(name)
    gc.freeze()  # what is forked neither visits nor copies it
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that look after jobs
    server = socket.socket(socket.AF_UNIX)
    server.bind(address)
    server.listen()
    server.settimeout(5)
    print("ready", flush=True)
    while os.getppid() == parent:
        with suppress(TimeoutError):
            connection, _ = server.accept()
            if os.fork() == 0:
                server.close()
                os._exit(look_after(connection, address))
            connection.close()


def look_after(connection: socket.socket, address: str) -> int:
    """Start a program, pass signals on to it, and tell how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    connection.settimeout(None)
    size, files, _, _ = socket.recv_fds(connection, 8, 3)
    asked = connection.recv(int.from_bytes(size), socket.MSG_WAITALL)
    job = os.fork()
    if job == 0:
        connection.close()
        run(Path(address).parent / "bin/python", files, *json.loads(asked))
    for file in files:
        os.close(file)
    ended = os.pidfd_open(job)
    while ended not in (ready := select.select([connection, ended], [], [])[0]):
        told = connection.recv(1) if connection in ready else b""
        os.kill(job, told[0] if told else signal.SIGKILL)  # nothing: the client is gone
        if not told:
            break
    code = os.waitstatus_to_exitcode(os.waitpid(job, 0)[1])
    with suppress(OSError):
        connection.sendall(str(code if code >= 0 else 128 - code).encode())
    return 0


def run(
    python: Path,
    files: list[int],
    arguments: list[str],
    folder: str,
    environment: dict[str, str],
    umask: int,
) -> None:
    """Be `python -m MODULE …`: doesn't return."""
    code = 1
    try:
        for place, file in enumerate(files):
            os.dup2(file, place)
            os.close(file)
        os.umask(umask)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        more = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
        sys.path[:1] = [folder, *more]
        if arguments[0] in ("snakemake", "saev.tools"):  # they start others
            sys.executable = str(python)
            if arguments[0] == "snakemake" and more:
                _find_executors()
        sys.argv[:] = arguments
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _find_executors() -> None:
    """Look for those of Snakemake again, as there may be some in other places."""
    from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

    ExecutorPluginRegistry().collect_plugins()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
