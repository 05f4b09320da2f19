"""The kernels for a GPU, without a GPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_kernels_equal_plain_torch_in_the_interpreter():
    pytest.importorskip("triton")
    # Triton reads the variable when it is imported, which another test may have done already.
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/triton_kernels.py"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout


def test_dictionaries_work_where_triton_is_missing():
    code = "import sys; sys.modules['triton'] = None; import saev.sae, saev.train"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
