"""Fixtures shared by the tests of the whole workflow, and by those of training."""

import pytest
from hypothesis import settings
from project import Project

# Other tests, or others' programs, may keep the processor busy.
settings.register_profile("without deadlines", deadline=None)
settings.load_profile("without deadlines")


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """A tiny project whose whole workflow has run; copy it before changing its results."""
    project = Project.create(tmp_path_factory.mktemp("built") / "project")
    project.snakemake()
    return project


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


@pytest.fixture(scope="session")
def truth(activations, tmp_path_factory):
    """Bytes of undisturbed runs by architecture."""
    from trained import EVERY, run

    base = tmp_path_factory.mktemp("truth")
    return {name: run(s, activations, base / name / "s") for name, s in EVERY.items()}
