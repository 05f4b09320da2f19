"""If one of the processes of a training fails, the user reads why, whichever it is."""

import os
import subprocess
import sys

import pytest
import torch
from project import ROOT
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from saev.core.errors import UserError
from saev.core.system_errors import ON_GPU
from saev.train import parallel
from saev.workflow import failures

STAGE = """
import time, torch
from datetime import timedelta
from saev.core import frame, logs
from saev.train import parallel

def main(arguments):
    if not parallel.started():
        parallel.launch(2, "stage", arguments, torch.device("cpu"))
    parallel.PATIENCE = timedelta(seconds=2)
    parallel.LAST_WORD_SECONDS = 2 if "hangs" in arguments else 100
    processes = parallel.join(2, torch.device("cpu"))
    processes.meet()
    if not processes.first:
        logs.mute()
        if "hangs" in arguments:
            time.sleep(300)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 1 …")
    processes.agree(True, torch.device("cpu"))

if __name__ == "__main__":
    frame.run(main)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "cause"), [("fills its GPU", ON_GPU), ("hangs", "another process of this training")]
)
def test_why_another_process_than_the_first_failed_is_said_once(what, cause, tmp_path):
    (tmp_path / "stage.py").write_text(STAGE)
    log = tmp_path / "log"
    done = subprocess.run(
        [sys.executable, "-m", "stage", "--log", str(log), what],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {cause}")
    assert len(done.stderr.splitlines()) == 1
    failure = failures.of_log(log)
    assert failure.error == done.stderr.splitlines()
    assert failure.final == (cause == ON_GPU)  # a process that hangs may not at the next try


def test_a_process_that_was_killed_is_said(monkeypatch):
    def killed(config, entrypoint):
        def start(*arguments):
            raise ChildFailedError("", {1: ProcessFailure(1, 7, -9, "/nonexistent")})

        return start

    monkeypatch.setattr("torch.distributed.launcher.api.elastic_launch", killed)
    monkeypatch.setattr("os.environ", dict(os.environ))
    with pytest.raises(UserError, match=r"process 2 of the 2 of .* was ended by SIGKILL") as caught:
        parallel.launch(2, "saev.train", [], torch.device("cpu"))
    assert caught.value.may_pass
