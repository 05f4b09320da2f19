"""The bytes of every stage's artifacts are those of the golden ones, whatever was edited.

So an edit of code that no digest counts (`saev.workflow.digests.EXEMPT`), but that does change a
byte, fails here.
"""

import platform

import golden
import pytest

pytestmark = pytest.mark.slow


@pytest.mark.skipif(platform.machine() != "x86_64", reason="golden bytes are those of x86-64")
def test_every_stage_makes_the_golden_bytes(tmp_path, monkeypatch):
    for name, value in golden.ANY_PROCESSOR.items():
        monkeypatch.setenv(name, value)
    made, kept = golden.make(tmp_path / "project"), golden.kept()
    assert sorted(made) == sorted(kept)
    assert [name for name in made if made[name] != kept[name]] == []


def test_the_golden_artifacts_are_of_every_stage():
    names = golden.kept()
    for ending in (
        "manifest.parquet",
        "shard-00000.npy",
        "checkpoint.safetensors",
        "verdict.json",
        "latents.parquet",
        "evaluation.json",
        "coactivation.parquet",
        "dashboard/data/latents.js",
    ):
        assert any(name.endswith(ending) for name in names), ending
