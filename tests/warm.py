"""A `python` for the jobs of tests' projects, which forks a program that has imported PyTorch.

Those imports take each job seconds, and tests start hundreds of jobs. Only `python -m saev.…` is
forked, under the environment that the program has started with. Everything else, and every job
that a test strikes, starts as it does for a user.
"""

import atexit
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
from functools import cache
from pathlib import Path

IMPORTED = (
    *("torch", "torchvision", "numba", "open_clip", "timm", "pydantic", "jaxtyping", "beartype"),
    *("pyarrow.parquet", "pyarrow.compute", "safetensors.torch", "matplotlib.axes", "PIL.Image"),
)
AT_START = ("ATEN", "MKL", "NPY", "NUMBA", "OMP", "OPENBLAS", "PYTHON", "TORCH", "TRITON", "HF_")
"""What libraries read from the environment when they are imported, by how the names begin."""

CLIENT = """#!{python} -IS
import json, os, signal, socket, sys
at_start = {{k: v for k, v in os.environ.items() if k.startswith({prefixes})}}
code = at_start.get("PYTHONPATH", "")
if code == os.getcwd() or os.path.isfile(code + "/Snakefile"):
    del at_start["PYTHONPATH"]  # it is the first place that the job looks in anyway
if sys.argv[1:2] != ["-m"] or not sys.argv[2].startswith("saev.") or at_start != {at_start}:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
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


@cache
def interpreter() -> str:
    """The Python of an environment like this one, whose `python` is the one that forks.

    The program ends with this one.
    """
    folder = tempfile.mkdtemp(prefix="warm-")
    own = Path(sys.prefix)
    for name in ("pyvenv.cfg", "lib"):
        if (own / name).exists():
            Path(folder, name).symlink_to(own / name)
    programs = Path(folder, "bin")
    programs.mkdir()
    (programs / "python3").symlink_to(sys.executable)
    address = f"{folder}/socket"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    # As Snakemake sets them for a job of one thread.
    environment |= {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    server = subprocess.Popen(
        [sys.executable, __file__, address, str(os.getpid())],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    atexit.register(server.kill)
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    at_start = {k: v for k, v in environment.items() if k.startswith(AT_START)}
    client = programs / "python"
    client.write_text(
        CLIENT.format(python=sys.executable, prefixes=AT_START, at_start=at_start, address=address)
    )
    client.chmod(0o755)
    return str(programs / "python3")


def serve(address: str, parent: int) -> None:
    """Fork for each connection, until the program that started this one has ended."""
    for name in IMPORTED:
        __import__(name)
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
                os._exit(look_after(connection))
            connection.close()


def look_after(connection: socket.socket) -> int:
    """Start a job, pass signals on to it, and tell how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    connection.settimeout(None)
    size, files, _, _ = socket.recv_fds(connection, 8, 3)
    asked = connection.recv(int.from_bytes(size), socket.MSG_WAITALL)
    job = os.fork()
    if job == 0:
        connection.close()
        run(files, *json.loads(asked))
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


def run(files: list[int], arguments: list[str], folder: str, environment: dict, umask: int) -> None:
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
        code = environment.get("PYTHONPATH", "")
        sys.path[0] = code if Path(code, "Snakefile").is_file() else folder
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


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
