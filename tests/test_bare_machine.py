"""`make` on a machine that has Python and little else: no git, no compiler, no home, no network."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from project import ROOT, Project, without_gpus

from saev.workflow import jobs

PROGRAMS = ["make", "sh", "bash", "dirname", "mkdir", "rm", "cat", "echo", "touch", "wc"]
if find_spec("snakemake_executor_plugin_slurm"):
    PROGRAMS.append("which")  # Snakemake imports each plugin that is there, and this one calls it


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A tiny project after `make`, and what it said."""
    base = tmp_path_factory.mktemp("bare")
    programs = base / "bin"
    programs.mkdir()
    for name in PROGRAMS:
        (programs / name).symlink_to(shutil.which(name))
    project = Project.create(base / "project", n_images=60)
    given = project.settings()
    given["sae"]["cls"]["batch_size"] = 32
    given["runs"] = given["runs"][:1]
    project.configure(given)
    shutil.copy(ROOT / "Makefile", project.folder)
    (project.folder / "constraints.txt").touch()
    (project.folder / ".venv").symlink_to(sys.prefix)
    # The packages are installed already, whatever the times of files say.
    command = ["make", "--assume-old", ".venv/bin/.installed"]
    alone = ["unshare", "--net"]
    if subprocess.run([*alone, "true"], capture_output=True).returncode == 0:
        command = [str(shutil.which(alone[0])), *alone[1:], *command]
    done = subprocess.run(
        command,
        cwd=project.folder,
        env={"PATH": str(programs), "HOME": "/proc/no home", "LC_ALL": "C", **without_gpus()},
        capture_output=True,
        text=True,
    )
    return project, done


@pytest.mark.slow
def test_make_builds_every_result(bare):
    project, done = bare
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Traceback" not in said
    assert "internal error" not in said
    page = project.folder / "results" / "index.html"
    assert page.is_file()
    assert done.stdout.count(f"Open {page}") == 1
    assert project.snakemake().stdout.count(f"Open {page}") == 1  # there is nothing to do
    assert project.planned() == {}
    assert project.python("-m", "saev.tools", "check", "--deep").returncode == 0


def test_jobs_run_with_the_python_of_snakemake_though_its_environment_is_not_activated(
    monkeypatch,
):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("PYTHONPATH", "/mine")
    jobs.import_from("/clone")
    jobs.import_from("/clone")  # as in a job's own Snakemake
    here = str(Path(sys.executable).parent)
    assert os.environ["PATH"] == f"{here}:/usr/bin:/bin"
    assert os.environ["PYTHONPATH"] == "/clone:/mine"
