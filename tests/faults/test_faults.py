"""20 seeded strikes, after each of which the same command gives the bytes of an undisturbed run or
names the damage; and what a person reads after Ctrl-C."""

import re
import shutil
import tempfile
from pathlib import Path

import pytest

from .run import FAULTS, chosen, run, scratch_folder
from .strikes import DETECTED, NOT_TRIED, SURVIVED
from .template import build, remove_from, workers
from .whole import AtTerminal

SEEDS = range(len(FAULTS))

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pool():
    with workers(1) as pool:
        yield pool


@pytest.fixture(scope="module")
def scratch():
    with tempfile.TemporaryDirectory(dir=scratch_folder()) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def template(built, pool, scratch):
    return build(pool, scratch / "template")


def named(seed):
    strike = chosen(seed)
    return f"{seed} {strike.fault}, {strike.stage}"


@pytest.mark.parametrize("seed", SEEDS, ids=named)
def test_nothing_is_lost_to(pool, template, scratch, seed):
    outcome = run(pool, template, chosen(seed), scratch / f"{seed}")
    if outcome.verdict == NOT_TRIED:
        pytest.skip(outcome.told)
    assert outcome.verdict in (SURVIVED, DETECTED), outcome.told
    assert not outcome.paid_twice, outcome.told
    assert not outcome.tracebacks, outcome.told


INSTANTS = {
    "jobs are planned": ("gallery", "gallery", r"Building DAG"),
    "a job starts": ("activations", "activations", r"recording shard 0"),
    "a training runs": ("train", "train", r"only 76 steps"),
    "a job has just ended": ("labels", "analyze", r"reading the labels.*: done"),
}
"""What is undone, what is asked for, and the line after which Ctrl-C is pressed."""


@pytest.mark.parametrize("instant", INSTANTS)
def test_ctrl_c_ends_in_one_line_when(template, scratch, monkeypatch, instant):
    stage, target, line = INSTANTS[instant]
    project = template.copy(scratch / "terminal")
    try:
        monkeypatch.chdir(project.folder)
        remove_from(stage)
        run = AtTerminal(project, target)
        assert run.until(lambda text: bool(re.search(line, text))), run.text
        before = len(run.text)
        run.press_ctrl_c()
        assert run.end() != 0
        said = run.text[before:].partition("^C")[2].strip().splitlines()
        assert said[-1:] == ["stopped: the same command resumes"], run.text
        # A job that is about to load its tower may say so before it stops.
        others = [line for line in said[:-1] if not line.startswith("tower.json: ")]
        assert others in ([], ["stopping: waiting until the jobs have saved their states …"])
    finally:
        shutil.rmtree(project.folder)
