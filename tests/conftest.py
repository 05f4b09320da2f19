"""Fixtures shared by the tests of the whole workflow, and by those of training."""

import logging
import os
import shutil
import signal
import subprocess

# Tests run side by side. Threads of one would wait for those of another, and they wait by turning:
# a training took four times the processor time. Whoever asks for threads still gets them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from filelock import FileLock
from hypothesis import settings
from project import Project

from saev.workflow import known_towers

# Tests leave the machine's GPUs alone unless they are asked for, as GPUs of others often are.
if not os.environ.get("SAEV_TEST_GPU"):
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
# As stages that are run as programs have it (`saev.core.frame.run`).
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
# Whoever started the tests may have had these ignored, as nohup does, and programs inherit that.
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Other tests, or others' programs, may keep the processor busy.
settings.register_profile("without deadlines", deadline=None)
settings.load_profile("without deadlines")


LONGEST = (
    *(
        "test_parity",
        "test_triton_kernels",
        "test_planted",
        "test_cluster",
        "test_nothing_lost",
        "test_slurm",
    ),
    *("test_parallel", "test_golden", "test_bare_machine", "test_examples", "test_workflow"),
    *("test_housekeeping_runs", "test_faults", "test_demo", "test_train", "test_done_once"),
    *("test_borrow", "test_sources", "test_without_clone", "test_shared_labels", "test_good_guest"),
)
"""Files whose tests take longest. They come first, so that at the end no process works alone."""


def pytest_collection_modifyitems(items):
    last = len(LONGEST)
    place = {f"{name}.py": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, last))


@pytest.fixture(autouse=True, scope="session")
def _towers_checked_once():
    """The program that checks towers takes seconds to start, and many tests ask about the same."""
    known, run = {}, known_towers._run

    def remembered(given):
        key = tuple(known_towers._key(one, "") for one in given)
        if key not in known:
            known[key] = run(given)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(known_towers, "_run", remembered)
        yield


@pytest.fixture
def said(caplog):
    """Returns what saev has said so far in this test."""
    caplog.set_level(logging.INFO, "saev")
    return lambda: "\n".join(r.getMessage() for r in caplog.records if r.name == "saev")


@pytest.fixture(autouse=True, scope="session")
def shared(tmp_path_factory):
    """A folder that all processes of a run of the tests share, for `built`."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "built"
    Project.compiled = shared / "project"
    return shared


@pytest.fixture(scope="session")
def built(shared):
    """A tiny project whose whole workflow has run; copy it before changing its results.

    All processes of a run of the tests share it.
    """
    with FileLock(f"{shared}.lock"):
        complete = shared / "complete"
        if not complete.exists():
            shutil.rmtree(shared, ignore_errors=True)
            Project.create(shared / "project").snakemake()
            complete.touch()
    return Project(shared / "project")


@pytest.fixture(scope="session")
def vit(built):
    """The directory of the recording of `built`. Its dictionaries lie inside."""
    return next((built.folder / "results").glob("pets-*/tiny-*"))


@pytest.fixture
def changed(built, tmp_path):
    """The same in a copy of all results, which may be changed."""
    subprocess.run(["cp", "-a", built.folder / "results", tmp_path / "results"], check=True)
    return next((tmp_path / "results").glob("pets-*/tiny-*"))


@pytest.fixture(scope="session")
def activations(tmp_path_factory):
    """600 images of which two are absent, as class tokens, patches and pooled, in three shards."""
    from synthetic import planted, write_activations
    from trained import D

    vectors, _ = planted(600 * 4, D, 40, 3, 0.05)
    streams = {
        "layer-01.cls": vectors[:600],
        "layer-01.patches": vectors.reshape(600, 4, D),
        "pooled": vectors[600:1200, :10],
    }
    return write_activations(tmp_path_factory.mktemp("a") / "vit", streams, absent=(3, 580))


@pytest.fixture
def saving(tmp_path, monkeypatch):
    """Trainings in this process save their state after every step."""
    from trained import write_plan

    for name, value in write_plan(tmp_path / "plan.json", state_seconds=0).items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def truth(activations, tmp_path_factory):
    """Bytes of undisturbed runs by architecture."""
    from trained import EVERY, run

    base = tmp_path_factory.mktemp("truth")
    return {name: run(s, activations, base / name / "s") for name, s in EVERY.items()}
