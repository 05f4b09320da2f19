"""What the `train` stage says when something is wrong."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import safetensors.torch
from synthetic import planted, write_activations
from trained import RELU, ROOT, TOPK, D, arguments, lines, run, write_plan

from saev.core.errors import UserError
from saev.train import artifact as trained
from saev.train import fit, trainer


def test_a_rate_that_is_too_high_stops_with_the_step_and_the_last_good_state(
    activations, tmp_path, saving
):
    with pytest.raises(
        UserError, match=r"at step \d+ of .*lr: 1e\+30 is probably too high"
    ) as error:
        run(TOPK | {"lr": 1e30, "warmup_steps": 0}, activations, tmp_path / "s")
    assert ".state" in str(error.value)
    assert not (tmp_path / "s" / "checkpoint.safetensors").exists()


@pytest.mark.parametrize("seconds", [0.0, 1e9], ids=["saving", "not-saving"])
@pytest.mark.parametrize("settings", [TOPK, RELU], ids=["topk", "relu"])
def test_the_last_good_state_is_kept_and_the_next_try_fails_in_the_same_way(
    settings, seconds, activations, tmp_path, monkeypatch
):
    for name, value in write_plan(tmp_path / "plan.json", state_seconds=seconds).items():
        monkeypatch.setenv(name, value)
    rate, first = trainer.learning_rate, []
    monkeypatch.setattr(
        trainer, "learning_rate", lambda s, step, n: 1e30 if step == 11 else rate(s, step, n)
    )
    original = fit.Trainer.train

    def recording(self, x):
        first.append(self.step)
        return original(self, x)

    monkeypatch.setattr(fit.Trainer, "train", recording)
    said = []
    for _ in range(2):
        first.clear()
        with pytest.raises(UserError, match=r"at step 13 of 45: .* is probably too high") as error:
            run(settings, activations, tmp_path / "s")
        said.append(str(error.value))
    assert said[0] == said[1]
    assert not (tmp_path / "s" / "checkpoint.safetensors").exists()
    if seconds:
        return
    assert first[0] == 11
    (state,) = (tmp_path / "s" / ".state").glob("*/state.safetensors")
    tensors = safetensors.torch.load_file(state)
    assert all(bool(t.isfinite().all()) for t in tensors.values())
    monkeypatch.setattr(trainer, "learning_rate", rate)
    assert run(settings, activations, tmp_path / "s") == run(
        settings, activations, tmp_path / "other" / "s"
    )


@pytest.mark.parametrize("normalisation", ["none", "per_dimension"])
def test_infinite_activations_are_named_as_the_cause(normalisation, tmp_path):
    values = np.random.default_rng(0).normal(size=(300, 5))
    values[:, 2] = 1e5  # beyond float16
    with np.errstate(all="ignore"):
        folder = write_activations(tmp_path / "a", {"layer-01.cls": values})
    with pytest.raises(UserError, match="largest float16 is 65,504"):
        run(TOPK | {"normalisation": normalisation}, folder, tmp_path / "s")


def test_constant_dimensions_and_an_outlier_one_train_to_finite_weights(tmp_path):
    values, _ = planted(400, D, 40, 3, 0.05)
    values[:, 0], values[:, 1] = 5, 0
    values[:, 2] *= 1000
    folder = write_activations(tmp_path / "a", {"layer-01.cls": values}, dtype="float32")
    run(TOPK, folder, tmp_path / "s")
    sae = trained.load(tmp_path / "s")
    assert sae.norm_scale[:2].tolist() == [1, 1]
    assert all(bool(t.isfinite().all()) for t in sae.state_dict().values())
    assert lines(tmp_path / "s")[-1]["eval_nmse"] < 0.9


MISTAKES = [
    ({"layer": 7}, r"holds no cls of layer 7 .*layer-01.cls, layer-01.patches, pooled"),
    ({"k": 161}, "k: 161 is larger than n_latents: 160"),
    ({"architecture": "gated"}, "gated"),
    ({"learning_rate": 1.0}, "learning_rate"),
    ({"held_out": 0.999}, "leaves none of the 598 images"),
]


@pytest.mark.parametrize(("change", "message"), MISTAKES)
def test_a_mistake_in_the_settings_is_named(change, message, activations, tmp_path):
    with pytest.raises(UserError, match=message):
        run(TOPK | change, activations, tmp_path / "s")
    assert not list(tmp_path.rglob("*.*"))


def test_altered_or_missing_activations_are_refused(activations, tmp_path):
    folder = tmp_path / "vit"
    shutil.copytree(activations, folder)
    shard = folder / "layer-01.cls/shard-00001.npy"
    good = shard.read_bytes()
    shard.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(UserError, match="another SHA-256"):
        run(TOPK, folder, tmp_path / "s")
    shard.unlink()
    with pytest.raises(UserError, match="missing"):
        run(TOPK, folder, tmp_path / "s")
    (folder / "meta.json").unlink()
    with pytest.raises(UserError, match=r"meta.json is missing"):
        run(TOPK, folder, tmp_path / "s")


def test_a_checkpoint_altered_after_training_is_refused(activations, tmp_path):
    run(TOPK | {"epochs": 0.5}, activations, tmp_path / "s")
    path = tmp_path / "s" / "checkpoint.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(UserError, match="altered after training"):
        trained.load(tmp_path / "s")


def test_a_mistake_is_one_line_and_exit_status_one(activations, tmp_path):
    settings = TOPK | {"layer": 7}
    done = subprocess.run(
        [sys.executable, "-m", "saev.train", *arguments(settings, activations, tmp_path / "s")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
