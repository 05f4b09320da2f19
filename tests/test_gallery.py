"""The page of all runs is made once, and leaves out nothing without a word."""

import json
import shutil
import subprocess

import pytest
from project import Project

from saev.dashboard import __main__ as dashboard

pytestmark = pytest.mark.slow


@pytest.fixture
def results(built, tmp_path):
    folder = tmp_path / "project"
    subprocess.run(["cp", "-a", built.folder, folder], check=True)
    return Project(folder).folder / "results"


def made(results, *runs, code="1"):
    """Make the page, which Snakemake has asked for; what the settings name are ``runs``."""
    spec = json.dumps({"settings": {"sweeps": {}}, "code": code})
    stamp = results / ".build_gallery.done"
    stamp.unlink(missing_ok=True)
    named = map(str, runs)
    where = "--out", str(results), "--done", str(stamp)
    dashboard.main(["gallery", "--spec", spec, "--runs", *named, *where])
    assert stamp.is_file()
    return (results / "index.html").stat().st_ino


def test_it_is_made_again_only_if_something_that_it_shows_changed(results):
    named, other = sorted(results.glob("*/*/*/named-*"))
    first = made(results, named)
    assert made(results, named) == first
    assert made(results, named, code="2") != first
    second = made(results, named)
    assert made(results, named, other) != second
    third = made(results, named)
    (record,) = other.parent.glob(".train_sae.made")
    record.write_text(record.read_text().replace('sha256": "', 'sha256": "0', 1))
    assert made(results, named) != third
    fourth = made(results, named)
    shutil.rmtree(other)
    assert made(results, named) != fourth


def test_a_damaged_run_of_other_settings_is_named_until_it_is_whole(results, said):
    named, other = sorted(results.glob("*/*/*/named-*"))
    curve = other.parent / "train.jsonl"
    whole = curve.read_bytes()
    curve.write_bytes(whole.replace(b"1", b"2", 1))
    made(results, named)
    assert (
        f"1 runs of other settings aren't on the page:\n  - {other}: {curve} was altered" in said()
    )
    curve.write_bytes(whole)
    made(results, named)
    page = (results / "index.html").read_text()
    assert page.count('"current":false') == 1
    assert "nothing to do" not in said()
