"""Fixtures shared by the tests of the whole workflow."""

import pytest
from project import Project


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """A tiny project whose whole workflow has run; copy it before changing its results."""
    project = Project.create(tmp_path_factory.mktemp("built") / "project")
    project.snakemake()
    return project
