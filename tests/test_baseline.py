"""The PCA is fitted once for dictionaries that see the same vectors, and changes no byte of a
result."""

import json
import shutil
import threading
import time
from pathlib import Path

import pytest
import torch
from analysed import RELU, TOPK, Case, vectors, write_sae
from synthetic import write_activations
from test_housekeeping import RUN, place, plan_of, whole

from saev.analyze import baseline
from saev.analyze.artifact import PART
from saev.analyze.merge import write_merged
from saev.settings.analysis import AnalysisResolved
from saev.tools import garbage
from saev.tools.check import check


@pytest.fixture
def fits(monkeypatch):
    """A list that is as long as PCAs were fitted."""
    done, fit = [], baseline.fit

    def counting(*arguments):
        done.append(1)
        return fit(*arguments)

    monkeypatch.setattr(baseline, "fit", counting)
    return done


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path, vectors(600, d=24, patches=2), {}, absent=(7,))


def point(case: Case, name: str, sae: dict) -> Case:
    """Another dictionary on the same activations; its normalisation is as its seed says."""
    made = object.__new__(Case)
    made.__dict__ |= case.__dict__
    made.sae = write_sae(case.activations / name, case.activations, case.stream, sae)
    made.out = made.sae / "analysis"
    made.out.mkdir()
    return made


def kept(case: Case) -> list[Path]:
    return sorted((case.activations / "baselines").glob("*.safetensors"))


def merge(case: Case, code: str = "") -> dict[str, bytes]:
    write_merged(case.open(), case.settings, AnalysisResolved(), 1, case.out, case.out, PART, code)
    return case.results()


def test_points_of_a_sweep_share_one_fit_and_have_the_bytes_that_they_have_alone(case, fits):
    points = [case, point(case, "more", {**TOPK, "k": 5}), point(case, "relu", RELU)]
    for one in points:
        one.part(0, PART)
    shared = [merge(one) for one in points]
    assert len(fits) == len(kept(case)) == 1
    for one, results in zip(points, shared, strict=True):
        shutil.rmtree(case.activations / "baselines")
        assert merge(one) == results
    assert len(fits) == 4


def test_what_is_read_is_laid_out_as_what_was_fitted(case):
    # The bits of products depend on it.
    fitted, read = (baseline.shared(case.open(), "train", 900, "") for _ in range(2))
    for ours, theirs in zip(fitted[:2], read[:2], strict=True):
        assert torch.equal(ours, theirs)
        assert ours.stride() == theirs.stride()
        assert theirs.data_ptr() % 64 == 0
    assert fitted.n_fit == read.n_fit == 900


@pytest.mark.parametrize("changed", [{"seed": 6}, {"held_out": 0.3}])
def test_another_split_or_normalisation_has_a_fit_of_its_own(case, fits, changed):
    for one in (case, point(case, "other", {**TOPK, **changed})):
        one.analyse(PART)
    assert len(fits) == len(kept(case)) == 2


def test_the_same_split_with_another_normalisation_has_a_fit_of_its_own(case, fits):
    for width in (0, 1):
        inputs = case.open()
        inputs.sae.norm_scale[0] += width
        baseline.shared(inputs, "train", 900, "")
    assert len(fits) == len(kept(case)) == 2


def test_another_stream_has_a_fit_of_its_own(tmp_path, fits):
    streams = {"layer-01.cls": vectors(300), "pooled": vectors(300, seed=1)}
    vit = write_activations(tmp_path / "vit", streams)
    case = Case(tmp_path / "case", vectors(300), {})
    case.activations = vit
    for stream in streams:
        case.sae = write_sae(vit / stream, vit, stream, TOPK)
        baseline.shared(case.open(), "train", 200, "")
    assert len(fits) == len(kept(case)) == 2


def test_a_fit_by_other_code_or_of_activations_recorded_again_is_replaced(case, fits):
    baseline.shared(case.open(), "train", 900, "old")
    (path,) = kept(case)
    baseline.shared(case.open(), "train", 900, "new")
    baseline.shared(case.open(), "train", 900, "new")
    assert len(fits) == 2
    inputs = case.open()
    baseline.shared(
        inputs._replace(digests={**inputs.digests, "activations": "0" * 64}), "train", 900, "new"
    )
    assert len(fits) == 3
    assert kept(case) == [path]


@pytest.mark.parametrize("part", ["safetensors", "json"])
def test_a_damaged_baseline_is_made_again(case, fits, part):
    case.part(0, PART)
    results = merge(case)
    (path,) = kept(case)
    whole = path.read_bytes()
    damaged = path.with_suffix(f".{part}")
    for data in (damaged.read_bytes()[:-9], b"", damaged.read_bytes().replace(b"e", b"f")):
        damaged.write_bytes(data)
        assert merge(case) == results
        assert path.read_bytes() == whole
    damaged.unlink()
    assert merge(case) == results
    assert len(fits) == 5


def test_of_two_jobs_at_once_one_fits_and_the_other_waits(case, monkeypatch):
    fits, fit = [], baseline.fit

    def slow(*arguments):
        fits.append(1)
        time.sleep(0.5)
        return fit(*arguments)

    monkeypatch.setattr(baseline, "fit", slow)
    found = []
    jobs = [
        threading.Thread(
            target=lambda: found.append(baseline.shared(case.open(), "train", 900, ""))
        )
        for _ in range(3)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert len(fits) == 1
    assert len(found) == 3
    assert all(torch.equal(one.directions, found[0].directions) for one in found)


def test_an_analysis_is_made_where_no_baseline_can_be_written(case, fits, monkeypatch):
    case.part(0, PART)
    results = merge(case)
    shutil.rmtree(case.activations / "baselines")

    def full(*_):
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(baseline, "write_bytes", full)
        assert merge(case) == results
    assert list((case.activations / "baselines").iterdir()) == []
    (case.activations / "baselines").rmdir()
    (case.activations / "baselines").write_text("no folder")
    assert merge(case) == results
    assert len(fits) == 3


def test_check_finds_an_altered_baseline(tmp_path):
    vit = tmp_path / "results/pets-11111111/tiny-22222222"
    case = Case(tmp_path, vectors(300), {})
    shutil.move(case.activations, vit)
    case.activations, case.sae = vit, vit / "sae"
    baseline.shared(case.open(), "train", 200, "")
    (path,) = kept(case)
    assert not [f for f in check(tmp_path / "results")[0] if "baselines" in f.text]
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    texts = [finding.text for finding in check(tmp_path / "results")[0]]
    assert f"{path} has another SHA-256 than when it was written" in texts


def test_gc_removes_baselines_and_the_memory_with_their_directory_alone(tmp_path):
    whole(tmp_path)
    used, old = tmp_path.joinpath(*RUN[:2]), place(tmp_path, 1, (RUN[0], "old-00000000"))
    for vit in (used, old):
        for name in (".verified/host.jsonl", "baselines/ab.safetensors", "baselines/ab.json"):
            (vit / name).parent.mkdir(exist_ok=True)
            (vit / name).write_text(json.dumps({}))
    (found,) = garbage.garbage(tmp_path, plan_of(tmp_path))
    assert garbage.remove([found]) == []
    assert not old.exists()
    assert len(list(used.rglob("ab.*"))) == 2
