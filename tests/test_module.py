"""The workflow as a module of another one."""

import shutil

import pytest
from project import Project

from saev.core.locks import Lock

pytestmark = pytest.mark.slow

OTHERS = """
configfile: "config.yaml"

module saev:
    snakefile: "{clone}/Snakefile"
    config: config

use rule * from saev as saev_*

rule count_images:
    default_target: True
    input: rules.saev_images.input
    output: "count.txt"
    shell: "ls pictures/* | wc -l > {{output}}"
"""


@pytest.fixture
def project(tmp_path):
    clone = Project.create(tmp_path / "clone", n_images=90)
    folder = tmp_path / "other"
    folder.mkdir()
    for name in ("pictures", "sites.csv", "tower.json", "config.yaml"):
        shutil.move(clone.folder / name, folder / name)
    (folder / "Snakefile").write_text(OTHERS.format(clone=clone.folder))
    return Project(folder)


@pytest.mark.parametrize("own", ["", "\nonstart:\n    print('theirs')\n"])
def test_as_a_module_it_locks_results_and_calls_the_others_start_too(project, own):
    with (project.folder / "Snakefile").open("a") as file:
        file.write(own)
    (project.folder / "results").mkdir()
    with Lock(project.folder / "results/.lock", "results/"):
        done = project.snakemake(check=False)
    assert done.returncode == 1
    assert "results/ is in use by process" in done.stdout + done.stderr
    assert not (project.folder / "count.txt").exists()
    done = project.snakemake()
    assert ("theirs" in done.stdout) == bool(own)
    assert (project.folder / "count.txt").exists()
    assert not (project.folder / "results/.lock").exists()
    (listing,) = (project.folder / "results").glob("pets-*")
    first = (listing / "manifest.parquet").stat().st_ino
    # The name of a stage stands for its rules, which are said in the same words.
    forced = project.snakemake("--forcerun", "saev_images")
    assert "listing the images of pets …" in forced.stdout + forced.stderr
    assert (listing / "manifest.parquet").stat().st_ino != first
