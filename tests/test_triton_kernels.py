"""The kernels for a GPU, without a GPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from saev.sae.kernels import dense, triton as kernels

codes, numbers = "*i64 *i64 *fp32 ", " i32" + " fp32" * 6
for rows in ("*fp32", "*bf16"):
    for kernel, types, sizes in (
        (kernels._weighted_sum, codes + rows + " *fp32 i32", {"S": 16, "D": 128}),
        (kernels._dot, "*i64 *i64 " + rows + " *fp32 *fp32 i32 i32", {"S": 16, "D": 128}),
        (kernels._find, rows + " *i32 *i32 i32 i32", {"G": 1024, "C": 1024}),
        (kernels._find, rows + " *i32 *i32 i32", {"k": 1, "G": 1024, "C": 1024}),
        (kernels._choose, rows + " *i32 *i32 *i64 *i64 *fp32 i32 i32", {"C": 1024}),
        (kernels._choose, rows + " *i32 *i32 *i64 *i64 *fp32 i32", {"k": 1, "C": 1024}),
        (kernels._adam, "*fp32 " * 4 + numbers, {"UNIT": True, "D": 1024}),
        (kernels._adam, "*fp32 " * 4 + numbers, {"UNIT": False, "D": 1024}),
        (dense._keep_above, "*fp32 " * 4 + "*i64 *i1 i32", {"JUMP": True, "N": 1024}),
        (dense._keep_above, "*fp32 " * 4 + "*i64 *i1 i32", {"JUMP": False, "N": 1024}),
        (dense._where_positive, "*fp32 " * 4 + "i32", {"N": 1024}),
        (dense._jump_backward, "*fp32 " * 6 + "i32 i32 fp32", {"ROWS": 256, "R": 8, "C": 128}),
    ):
        kinds = types.split() + ["constexpr"] * len(sizes)
        signature = dict(zip(kernel.arg_names, kinds, strict=True))
        source = ASTSource(fn=kernel, signature=signature, constexprs=sizes)
        assert triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"]
"""


def run(*command, **variables):
    """Run Python in a process of its own: Triton reads its variables when it is imported."""
    inherited = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment = {**inherited, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, *command]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_kernels_equal_plain_torch_in_the_interpreter():
    pytest.importorskip("triton")
    files = ("tests/triton_kernels.py", "tests/gpu_kernels.py")
    tests = ("-m", "pytest", "-p", "no:cacheprovider", *files)
    assert "skipped" not in run(*tests, TRITON_INTERPRET="1")


@pytest.mark.slow
def test_the_kernels_compile_for_a_gpu_of_compute_capability_9_0(tmp_path):
    pytest.importorskip("triton")
    run("-c", COMPILE, TRITON_CACHE_DIR=str(tmp_path))


BARE = """
import sys

for library in ("pydantic", "beartype", "jaxtyping", "open_clip", "yaml", "PIL", "filelock"):
    sys.modules[library] = None
import benchmarks.batch_top, benchmarks.gpu_step, pytest

files = ("tests/triton_kernels.py", "tests/gpu_kernels.py")
sys.exit(pytest.main(["--noconftest", "--collect-only", "-p", "no:cacheprovider", *files]))
"""


def test_the_kernels_their_tests_and_benchmarks_need_no_other_library():
    pytest.importorskip("triton")
    run("-c", BARE, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1", TRITON_INTERPRET="1")


def test_dictionaries_work_where_triton_is_missing():
    run("-c", "import sys; sys.modules['triton'] = None; import saev.sae.base, saev.train.fit")
