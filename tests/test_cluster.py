"""The workflow on a cluster, as far as no cluster is needed: an executor that runs jobs here."""

import json
import os
import re

import pytest
from project import ROOT, Project

pytestmark = pytest.mark.slow

STUB = ROOT / "tests/stub_executor"
CLUSTER = ("--executor", "stub", "--jobs", "2", "--workflow-profile", "none")
QUICK = ("--seconds-between-status-checks", "1", "--rerun-incomplete", "--nolock")


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(STUB), os.environ.get("PYTHONPATH", "")]))
    project = Project.create(tmp_path / "project", n_images=90)
    project.command = lambda *arguments: [*Project.command(project)[:3], *CLUSTER, *arguments]
    change(project, lambda settings: settings["runs"].pop())
    return project


def change(project, edit):
    settings = project.settings()
    edit(settings)
    project.configure(settings)


def would_ask(project, resource, *arguments):
    """What jobs of each rule would ask for, as a dry run shows it."""
    printed = project.snakemake("--dry-run", "--forceall", "--quiet", "host", *arguments).stdout
    pattern = rf"^(?:local)?rule (\w+):\n(?:    .*\n)*?    .*?\b{resource}(?:=|: )(\d+)"
    return dict(re.findall(pattern, printed, re.M))


def asked(project):
    """What jobs asked for."""
    lines = (project.folder / "asked.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_a_cluster_is_asked_for_a_stated_number_of_cores(project):
    change(project, lambda settings: settings["compute"].update(threads=0))
    project.snakemake("activations", *QUICK)
    threads = {job["rules"][0]: job["threads"] for job in asked(project)}
    assert threads["record_shard"] == 8
    assert set(threads.values()) == {1, 8}
    for cores in ((), ("--cores", "all"), ("--cores", "3")):
        assert would_ask(project, "threads", *cores)["train_sae"] == "8"
    change(project, lambda settings: settings["compute"].update(cluster_threads=5))
    assert would_ask(project, "threads")["train_sae"] == "5"
    change(project, lambda settings: settings["compute"].update(threads=3))
    assert would_ask(project, "threads", "--cores", "2")["train_sae"] == "3"
