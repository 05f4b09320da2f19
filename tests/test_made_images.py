"""Images that a rule of the user's makes."""

import pytest
from project import Project


@pytest.mark.slow
def test_a_run_that_only_makes_images_says_that_other_results_are_stale(tmp_path):
    project = Project.create(tmp_path / "project", n_images=90)
    given = project.settings()
    given["images"]["pets"] |= {"made": True, "n_images": 90, "version": "1"}
    given["runs"] = given["runs"][:1]
    project.configure(given)
    rule = 'rule draw:\n    output:\n        "pictures.json",\n    params:\n        "{}",\n'
    rule += '    shell:\n        "echo {{params}} > {{output}}"\n'
    snakefile = project.folder / "Snakefile"
    ours = snakefile.read_text()
    snakefile.write_text(ours + rule.format("first"))
    said = project.snakemake("labels")
    assert "start the same command again" not in said.stdout + said.stderr
    snakefile.write_text(ours + rule.format("second"))
    code = project.folder / "saev/labels/join.py"
    code.write_text(code.read_text() + "\n_OTHER = 1\n")
    said = project.snakemake("labels")
    assert "1 results were made by other code or settings" in said.stdout + said.stderr
    assert set(project.planned("labels")) == {"labels", "label_images"}
