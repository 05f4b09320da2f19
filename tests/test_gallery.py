"""The page of all runs is made once, and leaves out nothing without a word."""

import json
import shutil
import subprocess

import pytest
from project import Project

from saev.core.files import read_json, write_json
from saev.core.meta import write_meta
from saev.dashboard import __main__ as dashboard
from saev.dashboard.gallery import name_untrained, tower_of


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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_another_measurement_changes_what_runs_took_and_not_the_page(results):
    named, other = sorted(results.glob("*/*/*/named-*"))
    first = made(results, named, other)
    before = (results / "costs.js").read_bytes()
    (measured,) = results.parent.glob(f"logs/*/*/{named.parent.name}/train_sae.tsv")
    head, line = measured.read_text().splitlines()
    measured.write_text(f"{head}\n9999.5\t{line.partition(chr(9))[2]}\n")
    assert made(results, named, other) == first
    after = (results / "costs.js").read_text()
    assert after.encode() != before
    assert '"minutes":166.7' in after


@pytest.mark.slow
def test_a_page_of_another_analysis_or_version_is_named_and_left_out(results, said):
    named, other = sorted(results.glob("*/*/*/named-*"))
    summary = other / "dashboard/summary.json"
    content = read_json(summary)
    content["inputs"]["analysis"] = "0" * 64
    write_json(summary, content)
    (other / "dashboard/.build_dashboard.made").unlink()
    made(results, named)
    assert "wasn't made from its current analysis: run the stage dashboard again" in said()
    assert '"current":false' not in (results / "index.html").read_text()


TOWER = {"model": "ViT-B-16", "weights": "openai", "layers": [11], "image_size": 112}
RANDOM = {"model": "ViT-B-16", "weights": "random", "layers": [11], "image_size": 112}


def listed(vit, **changed):
    """What the gallery knows of a run."""
    run = {"images": "i", "vit": vit, "sae": "s", "analysis": "a", "trained_on": "i", **changed}
    return {"run": run, "link": "/".join(run.values())}


def test_a_run_stands_beside_the_same_run_with_an_untrained_tower_alone():
    own, untrained, seed = listed("v"), listed("v.untrained"), listed("again")
    given = {"weights_sha256": "0" * 64, "made": True, "like": "openai"}
    towers = {own["link"]: {**TOWER, **given}, untrained["link"]: RANDOM}
    towers[seed["link"]] = {**RANDOM, "weights_seed": 1}
    others = [
        listed("v", sae="t"),
        listed("v", analysis="b"),
        listed("v", trained_on="j"),
        listed("v", images="j"),
        listed("larger"),
        listed("removed"),
    ]
    towers |= {run["link"]: TOWER for run in others[:4]}
    towers |= {others[4]["link"]: {**TOWER, "image_size": 224}, others[5]["link"]: None}
    name_untrained([own, untrained, seed, *others], towers)
    assert own["untrained"] == untrained["untrained"] == untrained["link"]
    assert seed["untrained"] == seed["link"]
    assert not [run for run in others if "untrained" in run]


def test_a_run_whose_recording_was_removed_has_no_tower(tmp_path):
    vit = tmp_path / "i/v"
    about = {"stage": "activations", "name": "v", "inputs": {}, "summary": {}, "files": []}
    write_meta(vit, settings=TOWER, **about)
    assert tower_of(vit / "s/a") == TOWER
    (vit / "meta.json").unlink()
    assert tower_of(vit / "s/a") is None
