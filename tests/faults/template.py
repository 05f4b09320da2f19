"""A whole tiny project, made once and copied for each strike."""

import multiprocessing
import os
import shutil
import subprocess
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import warm
from project import Project

from saev.analyze.artifact import CODES
from saev.core.plan_file import PLAN_VARIABLE

from .jobs import PRELOADED, Job, Watch, all_jobs, plan_of, start

REMOVED = {
    "images": "pets-*",
    "activations": "pets-*/tiny-*",
    "train": "pets-*/tiny-*/*-????????",
    "labels": "pets-*/labels",
    "analyze": "pets-*/tiny-*/*-????????/named-*",
    "dashboard": "pets-*/tiny-*/*-????????/named-*/dashboard",
    "gallery": ".build_gallery.*",
}
"""What a stage and those after it have made, under ``results/``."""


class Template(NamedTuple):
    """A whole project, and what is known of its undisturbed run."""

    folder: Path
    jobs: tuple[Job, ...]
    plan: str
    changes: dict[str, int]
    """How many changes under ``results/`` each job makes, by its stamp."""
    truth: dict[str, bytes]
    """Bytes of all results that count."""

    def copy(self, folder: Path) -> Project:
        subprocess.run(["cp", "-a", self.folder, folder], check=True)
        return Project(folder)


def workers(n: int) -> ProcessPoolExecutor:
    """Processes forked from one that has imported all stages: a fresh one for each call."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
    warm.interpreter()  # one for all
    return ProcessPoolExecutor(
        n,
        mp_context=context,
        max_tasks_per_child=1,
        initializer=warm.STARTED.update,
        initargs=(warm.STARTED,),
    )


def build(pool: ProcessPoolExecutor, folder: Path) -> Template:
    """Make the project and run all its jobs once."""
    project = Project.create(folder)
    jobs = all_jobs(project)
    changes = pool.submit(_run_all, folder, jobs).result()
    # Records of Snakemake, as after a run of its own.
    project.snakemake("--touch")
    return Template(folder, tuple(jobs), str(plan_of(folder)), changes, counted(project))


def _run_all(folder: Path, jobs: list[Job]) -> dict[str, int]:
    enter(folder, str(plan_of(folder)))
    changes = {}
    for job in jobs:
        watch = Watch()
        running = start(job, watch)
        if running.wait():
            raise AssertionError(running.text())
        changes[job.stamp] = int(running.output.with_suffix(".count").read_text())
    return changes


def enter(folder: Path, plan: str) -> None:
    """Work in a project from now on, as its jobs do."""
    os.chdir(folder)
    os.environ.update({PLAN_VARIABLE: plan, "HF_HUB_OFFLINE": "1"})


def counted(project: Project) -> dict[str, bytes]:
    """Bytes of all results that count: not the plots, whose look is no result, nor the codes of
    analyses, which may go."""
    return {
        name: data
        for name, data in project.results().items()
        if not name.endswith(".png") and f"/{CODES}/" not in name
    }


def remove_from(stage: str) -> None:
    """Remove what a stage and those after it have made; the current folder is the project's."""
    for path in sorted(Path("results").glob(REMOVED[stage])):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in Path("results").glob(".build_gallery.*"):
        path.unlink()
    Path("results/index.html").unlink(missing_ok=True)
