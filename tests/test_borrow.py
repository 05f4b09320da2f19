"""Recordings of another project are used without copying or changing them."""

import shutil

import pytest
from project import Project

from saev.core.files import sha256_file

PATTERN = "results/pets-*/tiny-*"


def contents(folder):
    """Every file of a project's results, with its digest and time."""
    return {
        path: (sha256_file(path), path.stat().st_mtime_ns)
        for path in sorted((folder / "results").rglob("*"))
        if path.is_file()
    }


def borrow(project, lender):
    return project.python("-m", "saev.tools", "borrow", str(lender))


@pytest.fixture
def lender(built, tmp_path):
    shutil.copytree(built.folder, tmp_path / "lender", symlinks=True)
    return Project(tmp_path / "lender")


@pytest.fixture
def mine(tmp_path):
    """A project with the same images and tower that wants another dictionary."""
    project = Project.create(tmp_path / "mine")
    settings = project.settings()
    settings["sae"] = {"other": {**settings["sae"]["cls"], "n_latents": 40, "epochs": 3}}
    settings["runs"] = [{**settings["runs"][0], "sae": "other"}]
    project.configure(settings)
    return project


@pytest.mark.slow
def test_a_borrowed_recording_is_verified_and_used_and_the_lender_is_only_read(lender, mine):
    before = contents(lender.folder)
    done = borrow(mine, lender.folder)
    assert done.returncode == 0, done.stderr
    assert "linked" in done.stdout
    recording = next(mine.folder.glob(PATTERN))
    assert (recording / "layer-01.cls" / "shard-00000.npy").is_symlink()
    run = mine.snakemake("dashboard")
    assert "is complete: nothing to do" in run.stdout + run.stderr
    assert (recording / "layer-01.cls" / "shard-00000.npy").is_symlink()
    assert next(recording.glob("other-*/*/dashboard/index.html")).exists()
    assert contents(lender.folder) == before
    assert mine.planned("dashboard") == {}
    assert "is here already" in borrow(mine, lender.folder / "results").stdout
    # What the recording gives is what this project would have recorded.
    ours = next(recording.glob("other-*")) / "checkpoint.safetensors"
    made = ours.read_bytes()
    shutil.rmtree(recording)
    mine.snakemake("train")
    assert ours.read_bytes() == made
    assert not (recording / "layer-01.cls" / "shard-00000.npy").is_symlink()
    assert contents(lender.folder) == before


@pytest.mark.slow
def test_recording_again_replaces_links_and_not_what_they_lead_to(lender, mine):
    before = contents(lender.folder)
    assert borrow(mine, lender.folder).returncode == 0
    mine.snakemake("activations", "--forcerun", "activations")
    recording = next(mine.folder.glob(PATTERN))
    assert not any(path.is_symlink() for path in recording.rglob("shard-*"))
    assert contents(lender.folder) == before
    # What was recorded here before is kept.
    (recording / "meta.json").unlink()
    assert borrow(mine, lender.folder).returncode == 0
    assert (recording / "meta.json").is_symlink()
    assert not any(path.is_symlink() for path in recording.rglob("shard-*"))


@pytest.mark.slow
def test_what_cannot_be_borrowed_is_said_with_the_reason(lender, mine, tmp_path):
    (tmp_path / "empty").mkdir()
    done = borrow(mine, tmp_path / "empty")
    assert done.returncode == 1
    assert "It has no recording at all" in done.stderr
    other = mine.settings()
    mine.configure({**other, "vit": {"tiny": {**other["vit"]["tiny"], "layers": [0]}}})
    assert "layer" in borrow(mine, lender.folder).stderr
    mine.configure({**other, "vit": {"tiny": {**other["vit"]["tiny"], "weights_seed": 3}}})
    done = borrow(mine, lender.folder)
    assert done.returncode == 1
    assert "isn't there" in done.stderr
    assert "It has pets-" in done.stderr
    mine.configure(other)
    made = next(lender.folder.glob(f"{PATTERN}/.record_shard-00000.made"))
    made.write_text(made.read_text().replace('"key": "', '"key": "0'))
    done = borrow(mine, lender.folder)
    assert "was recorded by other code or other versions" in done.stderr
    assert "Traceback" not in done.stderr
    assert not any(mine.folder.glob(PATTERN))
