"""The `train` stage, on activations made without pictures."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic import planted, write_activations

from saev import sae as saes
from saev import train
from saev.artifacts.activations import Activations
from saev.blocks import held_out_mask
from saev.errors import UserError
from saev.stage import Stopped
from saev.training import data, fit
from saev.training.curves import draw
from saev.training.initial import initialise, normalisation_of

ROOT = Path(__file__).resolve().parent.parent
D = 24
RESULTS = ("checkpoint.safetensors", "train.jsonl", "curves.png", "meta.json")
TOPK = {
    "architecture": "topk",
    "layer": 1,
    "tokens": "cls",
    "n_latents": 160,
    "k": 2,
    "aux_k": 8,
    "aux_coefficient": 0.03,
    "dead_after": 64,
    "normalisation": "per_dimension",
    "batch_size": 64,
    "epochs": 6.0,
    "lr": 0.003,
    "warmup_steps": 5,
    "held_out": 0.2,
    "log_every": 7,
    "eval_every": 20,
}
RELU = {k: v for k, v in TOPK.items() if k not in ("k", "aux_k", "aux_coefficient")} | {
    "architecture": "relu",
    "l1": 0.03,
    "l1_warmup_steps": 10,
}


@pytest.fixture(scope="session")
def activations(tmp_path_factory):
    """600 images of which two are absent, as class tokens, patches and pooled, in three shards."""
    vectors, _ = planted(600 * 4, D, 40, 3, 0.05)
    streams = {
        "layer-01.cls": vectors[:600],
        "layer-01.patches": vectors.reshape(600, 4, D),
        "pooled": vectors[600:1200, :10],
    }
    return write_activations(tmp_path_factory.mktemp("a") / "vit", streams, absent=(3, 580))


def arguments(settings, activations, out, threads=1):
    spec = json.dumps({"settings": settings, "code": "c0de"})
    return [
        *("--spec", spec, "--activations", str(activations), "--out", str(out)),
        *("--threads", str(threads)),
    ]


def run(settings, activations, out, threads=1):
    """Train in this process; return the bytes of what must be reproducible."""
    train.main(arguments(settings, activations, out, threads))
    return {name: (out / name).read_bytes() for name in RESULTS}


def lines(out):
    return [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]


@pytest.fixture(scope="session")
def truth(activations, tmp_path_factory):
    """Bytes of undisturbed runs by architecture."""
    base = tmp_path_factory.mktemp("truth")
    return {
        s["architecture"]: run(s, activations, base / s["architecture"] / "s") for s in (TOPK, RELU)
    }


@pytest.mark.parametrize("settings", [TOPK, RELU], ids=["topk", "relu"])
def test_the_same_seed_gives_the_same_bytes_for_any_number_of_threads(
    settings, activations, truth, tmp_path
):
    for threads in (1, 2, 3):
        found = run(settings, activations, tmp_path / str(threads) / "s", threads)
        assert found == truth[settings["architecture"]]
    torch.set_num_threads(1)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [TOPK, RELU], ids=["topk", "relu"])
def test_threads_change_no_byte_at_sizes_where_work_is_split(settings, tmp_path):
    vectors, _ = planted(3000, 208, 100, 3, 0.05)
    folder = write_activations(tmp_path / "a", {"layer-01.cls": vectors})
    large = settings | {"n_latents": 784, "batch_size": 1111, "dead_after": 3000}
    found = [run(large, folder, tmp_path / str(t) / "s", t) for t in (1, 2, 4)]
    torch.set_num_threads(1)
    assert found[0] == found[1] == found[2]


def test_the_files_say_what_was_done(activations, tmp_path):
    out = tmp_path / "cls-0"
    run(TOPK, activations, out)
    meta = json.loads((out / "meta.json").read_bytes())
    rows = np.setdiff1d(np.arange(600), [3, 580])
    held_out = held_out_mask(rows, 0.2, 0)
    summary = meta["summary"]
    assert summary["n_train_images"] == summary["n_train_examples"] == (~held_out).sum()
    assert summary["n_held_out_images"] == summary["n_held_out_examples"] == held_out.sum()
    assert summary["steps"] == round(6 * (~held_out).sum() / 64)
    assert summary["examples"] == summary["steps"] * 64
    assert summary["final"] == lines(out)[-1]
    assert meta["inputs"] == {"activations": Activations(activations).digest}
    assert {entry["name"] for entry in meta["files"]} == set(RESULTS) - {"meta.json"}
    assert not (out / ".state").exists()
    volatile = json.loads((out / "run.json").read_bytes())
    assert volatile["examples_per_second"] > 0
    assert volatile["device"] == "cpu"


def test_the_curve_has_a_line_where_the_settings_ask_for_one(activations, tmp_path):
    run(TOPK, activations, tmp_path / "s")
    found = lines(tmp_path / "s")
    last = found[-1]["step"]
    every = {1, last} | set(range(7, last, 7)) | set(range(20, last, 20))
    assert [line["step"] for line in found] == sorted(every)
    for line in found:
        assert line["examples"] == line["step"] * 64
        assert line["l0"] <= 2
        assert ("eval_nmse" in line) == (line["step"] % 20 == 0 or line["step"] == last)
    assert found[-1]["nmse"] < 0.9 * found[0]["nmse"]
    assert found[0]["lr"] == pytest.approx(0.003 / 5)
    assert (
        found[-1]["eval_n"]
        == json.loads((tmp_path / "s/meta.json").read_bytes())["summary"]["n_held_out_examples"]
    )


def test_the_last_evaluation_can_be_derived_from_checkpoint_and_activations(activations, tmp_path):
    run(TOPK, activations, tmp_path / "s")
    reader = Activations(activations)
    rows = reader.rows(0, 600)
    stream = reader.stream(1, "cls")
    x = reader.take(stream, rows[held_out_mask(rows, 0.2, 0)])[:, 0].astype(np.float64)
    sae = saes.load(tmp_path / "s")
    scale = sae.norm_scale.numpy().astype(np.float64)
    mean = reader.stats(stream)["mean"]
    xh = sae(torch.from_numpy(x.astype(np.float32))).numpy()
    nmse = (((x - xh) / scale) ** 2).sum() / (((x - mean) / scale) ** 2).sum()
    assert lines(tmp_path / "s")[-1]["eval_nmse"] == pytest.approx(nmse, rel=1e-4)


def test_without_held_out_images_their_figures_are_null(activations, tmp_path):
    run(TOPK | {"held_out": 0.0, "epochs": 1.0}, activations, tmp_path / "s")
    last = lines(tmp_path / "s")[-1]
    assert {k for k, v in last.items() if v is None} == {
        "eval_loss", "eval_mse", "eval_aux", "eval_nmse", "eval_l0",
    }  # fmt: skip
    assert last["eval_n"] == 0


def test_the_decoder_in_the_file_has_unit_rows(truth, tmp_path):
    for architecture, files in truth.items():
        path = tmp_path / f"{architecture}.safetensors"
        path.write_bytes(files["checkpoint.safetensors"])
        norms = saes.load(path).W_dec.double().norm(dim=1)
        torch.testing.assert_close(norms, torch.ones(160, dtype=torch.float64), atol=1e-6, rtol=0)


def test_patches_and_pooled_outputs_can_be_trained_on(activations, tmp_path):
    run(TOPK | {"tokens": "patches", "epochs": 1.0}, activations, tmp_path / "p")
    summary = json.loads((tmp_path / "p/meta.json").read_bytes())["summary"]
    assert summary["n_train_examples"] == 4 * summary["n_train_images"]
    pooled = {k: v for k, v in TOPK.items() if k != "layer"} | {"tokens": "pooled", "epochs": 1.0}
    run(pooled, activations, tmp_path / "o")
    assert saes.load(tmp_path / "o").d == 10


KNOBS = [
    (TOPK, "n_latents", 40),
    (TOPK, "k", 3),
    (TOPK, "aux_k", 4),
    (TOPK, "aux_coefficient", 0.5),
    (TOPK, "dead_after", 128),
    (TOPK, "normalisation", "none"),
    (TOPK, "normalisation", "centred"),
    (TOPK, "normalisation", "unit_norm"),
    (TOPK, "tokens", "patches"),
    (TOPK, "batch_size", 32),
    (TOPK, "epochs", 3.0),
    (TOPK, "lr", 0.002),
    (TOPK, "warmup_steps", 0),
    (TOPK, "seed", 1),
    (TOPK, "held_out", 0.1),
    (TOPK, "init_rows", 50),
    (RELU, "l1", 0.05),
    (RELU, "l1_warmup_steps", 0),
]


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "key", "value"), KNOBS)
def test_every_knob_changes_the_weights(settings, key, value, activations, truth, tmp_path):
    found = run(settings | {key: value}, activations, tmp_path / "s")
    path = tmp_path / "before.safetensors"
    path.write_bytes(truth[settings["architecture"]]["checkpoint.safetensors"])
    before, after = saes.load(path).state_dict(), saes.load(tmp_path / "s").state_dict()
    assert found["train.jsonl"] != truth[settings["architecture"]]["train.jsonl"]
    assert any(
        before[name].shape != after[name].shape or not torch.equal(before[name], after[name])
        for name in ("W_enc", "W_dec")
    )


@pytest.mark.parametrize(("key", "value"), [("log_every", 3), ("eval_every", 9)])
def test_knobs_of_the_curve_change_the_curve(key, value, activations, truth, tmp_path):
    settings = RELU | {key: value}
    assert run(settings, activations, tmp_path / "s")["train.jsonl"] != truth["relu"]["train.jsonl"]


def test_latents_die_after_as_many_vectors_as_the_setting_says(activations, tmp_path):
    sparse = RELU | {"l1": 5.0, "lr": 0.05, "log_every": 1, "epochs": 3.0}
    for after in (64, 640):
        run(sparse | {"dead_after": after}, activations, tmp_path / str(after))
    early, late = (
        {line["step"]: line["dead"] for line in lines(tmp_path / str(after))} for after in (64, 640)
    )
    assert early[9] > 0
    assert all(late[step] == 0 for step in range(1, 10))
    assert late[20] > 0


# What training sees.
def encoded(tmp_path, **options):
    """Activations that hold their own row (and patch): [row, patch, 0, …] in float32."""
    values = np.zeros((600, 3, 4))
    values[..., 0] = np.arange(600)[:, None]
    values[..., 1] = np.arange(3)
    streams = {"layer-00.patches": values}
    return write_activations(tmp_path / "e", streams, dtype="float32", **options)


@pytest.mark.parametrize("kind", [data.InMemory, data.Mapped])
def test_every_training_vector_comes_once_an_epoch_and_no_held_out_one_ever(kind, tmp_path):
    reader = Activations(encoded(tmp_path, absent=(0, 255, 256, 599)))
    split = data.split_images(reader, 0.25, 3)
    assert not set(split.training) & set(split.held_out)
    assert len(split.training) + len(split.held_out) == 596
    vectors = kind(reader, reader.stream(0, "patches"), split.training)
    size = 50
    n_steps = 3 * vectors.n // size
    seen = np.concatenate(list(data.batches(vectors, size, 9, 0, n_steps)))
    assert seen.dtype == np.float32
    expected = {(row, patch) for row in split.training for patch in range(3)}
    for epoch in range(2):
        part = seen[epoch * vectors.n : (epoch + 1) * vectors.n]
        found = [(int(v[0]), int(v[1])) for v in part]
        assert len(found) == len(expected)
        assert set(found) == expected
    assert set(seen[:, 0].astype(int)) <= set(split.training)


def test_the_trainer_is_given_no_held_out_image(activations, tmp_path, monkeypatch):
    folder = encoded(tmp_path)
    seen = []
    original = fit.Trainer.train

    def recording(self, x):
        seen.append(x.copy())
        return original(self, x)

    monkeypatch.setattr(fit.Trainer, "train", recording)
    run(TOPK | {"layer": 0, "tokens": "patches", "epochs": 2.0}, folder, tmp_path / "s")
    rows = np.unique(np.concatenate(seen)[:, 0].astype(int))
    assert np.array_equal(rows, np.flatnonzero(~held_out_mask(np.arange(600), 0.2, 0)))


def test_the_order_is_the_documented_permutation_in_memory_and_mapped(tmp_path):
    reader = Activations(encoded(tmp_path, absent=(7,)))
    rows = reader.rows(0, 600)
    stream = reader.stream(0, "patches")
    order = np.random.default_rng([5, 0]).permutation(len(rows) * 3)[:64]
    expected = np.stack([rows[order // 3], order % 3], 1)
    batches = [
        next(data.batches(kind(reader, stream, rows), 64, 5, 0, 1))
        for kind in (data.InMemory, data.Mapped)
    ]
    assert np.array_equal(batches[0][:, :2], expected)
    assert np.array_equal(*batches)


@pytest.mark.parametrize("batch_size", [7, 64, 5000])
def test_a_step_sees_the_same_batch_whatever_step_came_first(batch_size, tmp_path):
    reader = Activations(encoded(tmp_path))
    vectors = data.InMemory(reader, reader.stream(0, "patches"), reader.rows(0, 600))
    whole = list(data.batches(vectors, batch_size, 1, 0, 300 if batch_size < 100 else 3))
    assert all(len(batch) == batch_size for batch in whole)
    for first in (1, 2, len(whole) - 1):
        resumed = list(data.batches(vectors, batch_size, 1, first, len(whole)))
        assert all(map(np.array_equal, resumed, whole[first:]))


@pytest.mark.parametrize("dtype", ["float16", "float32", "bfloat16"])
@pytest.mark.parametrize("kind", [data.InMemory, data.Mapped])
def test_each_stored_type_is_read_as_what_was_written(kind, dtype, tmp_path):
    values = np.arange(60, dtype=np.float64).reshape(10, 6)
    folder = write_activations(tmp_path / "t", {"pooled": values}, dtype=dtype)
    reader = Activations(folder)
    vectors = kind(reader, reader.stream(None, "pooled"), np.arange(2, 10))
    found = vectors.gather(np.array([7, 0]))
    assert found.dtype == np.float32
    assert np.array_equal(found, values[[9, 2]])


def test_a_larger_data_set_than_memory_gives_the_same_bytes(
    activations, truth, tmp_path, monkeypatch
):
    monkeypatch.setattr(data, "MEMORY_SHARE", 0.0)
    assert run(TOPK, activations, tmp_path / "s") == truth["topk"]


# Normalisation and initial values.
def array(values):
    class Array:
        n, d = values.shape

        def gather(self, indices):
            return values[indices].astype(np.float32)

    return Array()


def test_each_normalisation_has_the_mean_and_scale_that_it_names():
    values = np.array([[3.0, 4.0, 7.0], [-3.0, 4.0, 7.0], [0.0, 0.0, 7.0], [0.0, 8.0, 7.0]])
    mean, scale = normalisation_of(array(values), "centred", [0])
    assert mean.tolist() == [0, 4, 7]
    assert scale.tolist() == [1, 1, 1]
    mean, scale = normalisation_of(array(values), "per_dimension", [0])
    assert mean.tolist() == [0, 4, 7]
    assert scale == pytest.approx([np.sqrt(18 / 4), np.sqrt(32 / 4), 1])  # the last one is constant
    mean, scale = normalisation_of(array(values), "unit_norm", [0])
    assert mean.tolist() == [0, 0, 0]
    assert scale == pytest.approx([np.linalg.norm(values, axis=1).mean()] * 3)


def test_the_decoders_bias_starts_at_the_mean_of_the_rows_drawn():
    values = np.random.default_rng(0).normal(5, 2, (900, 3)).astype(np.float32)
    sae = saes.build(TOPK, 3)
    initialise(sae, array(values), "none", seed=4, init_rows=900)
    np.testing.assert_allclose(sae.b_dec.detach(), values.mean(0), rtol=1e-6)
    initialise(sae, array(values), "none", seed=4, init_rows=90)
    chosen = np.random.default_rng(4).choice(900, 90, replace=False, shuffle=False)
    np.testing.assert_allclose(sae.b_dec.detach(), values[chosen].mean(0), rtol=1e-6)


# Interruptions.
class Halt(Exception):
    pass


@pytest.mark.parametrize("settings", [TOPK, RELU], ids=["topk", "relu"])
@pytest.mark.parametrize("saves", [1, 2, 13, 30])
def test_going_on_from_any_state_gives_the_bytes_of_the_undisturbed_run(
    settings, saves, activations, truth, tmp_path, monkeypatch
):
    monkeypatch.setattr(fit, "STATE_SECONDS", 0.0)
    original, count = fit.State.save, []

    def save_then_halt(self, tensors, step):
        original(self, tensors, step)
        count.append(step)
        if len(count) == saves:
            self.append({"step": "of a later, lost part of the run"})
            raise Halt

    monkeypatch.setattr(fit.State, "save", save_then_halt)
    with pytest.raises(Halt):
        run(settings, activations, tmp_path / "s")
    assert not any((tmp_path / "s" / name).exists() for name in RESULTS)
    monkeypatch.setattr(fit.State, "save", original)
    steps = []
    original_train = fit.Trainer.train
    monkeypatch.setattr(
        fit.Trainer,
        "train",
        lambda self, x: (steps.append(self.step), original_train(self, x))[1],
    )
    assert run(settings, activations, tmp_path / "s") == truth[settings["architecture"]]
    assert steps[0] == count[-1] == saves


def test_a_damaged_state_is_left_aside(activations, truth, tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "STATE_SECONDS", 0.0)
    monkeypatch.setattr(
        fit.Trainer, "finite", lambda self: self.step < 9 or (_ for _ in ()).throw(Halt)
    )
    with pytest.raises(Halt):
        run(TOPK, activations, tmp_path / "s")
    monkeypatch.undo()
    (state,) = (tmp_path / "s" / ".state").glob("*/state.safetensors")
    state.write_bytes(state.read_bytes()[:-100])
    assert run(TOPK, activations, tmp_path / "s") == truth["topk"]


def program(settings, activations, out, step_seconds):
    """The stage as a program of its own, slowed down so that it can be killed in its middle."""
    code = (
        "import sys, time\n"
        "from saev import stage, train\n"
        "from saev.training import fit\n"
        "fit.STATE_SECONDS = 0.0\n"
        "step = fit.Trainer.train\n"
        f"fit.Trainer.train = lambda self, x: (time.sleep({step_seconds}), step(self, x))[1]\n"
        "stage.run(train.main)\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments(settings, activations, out)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(condition, process):
    while process.poll() is None:
        if condition():
            return
        time.sleep(0.002)
    raise AssertionError(f"it ended before: {process.stderr.read()}")


@pytest.mark.slow
@pytest.mark.parametrize("wait", [0.0, 0.05, 0.31, 0.8])
def test_killed_at_any_instant_and_run_again_it_ends_with_the_same_bytes(
    wait, activations, truth, tmp_path
):
    out = tmp_path / "s"
    process = program(TOPK, activations, out, 0.02)
    wait_until(lambda: list(out.glob(".state/*/train.jsonl")), process)
    time.sleep(wait)
    process.kill()
    process.wait()
    assert not (out / "meta.json").exists()
    assert run(TOPK, activations, out) == truth["topk"]
    assert sorted(p.name for p in out.iterdir()) == sorted([*RESULTS, "run.json"])


@pytest.mark.slow
def test_asked_to_stop_it_saves_its_state_and_goes_on_from_there(
    activations, truth, tmp_path, monkeypatch
):
    out = tmp_path / "s"
    process = program(TOPK, activations, out, 0.05)
    wait_until(lambda: list(out.glob(".state/*/state.safetensors")), process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 128 + signal.SIGTERM
    first = []
    original = fit.Trainer.train
    monkeypatch.setattr(
        fit.Trainer, "train", lambda self, x: (first.append(self.step), original(self, x))[1]
    )
    assert run(TOPK, activations, out) == truth["topk"]
    assert first[0] > 0


def test_a_stop_in_the_middle_of_a_step_is_noticed_after_it(activations, tmp_path, monkeypatch):
    original = fit.Trainer.train

    def stop_at_five(self, x):
        if self.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, x)

    monkeypatch.setattr(fit.Trainer, "train", stop_at_five)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped):
        run(TOPK, activations, tmp_path / "s")
    assert signal.getsignal(signal.SIGTERM) is before
    (state,) = (tmp_path / "s" / ".state").glob("*/state.safetensors")
    assert b'\\"step\\":5' in state.read_bytes()


# Mistakes.
def test_a_rate_that_is_too_high_stops_with_the_step_and_the_last_good_state(
    activations, tmp_path, monkeypatch
):
    monkeypatch.setattr(fit, "STATE_SECONDS", 0.0)
    with pytest.raises(
        UserError, match=r"at step \d+ of .*lr: 1e\+30 is probably too high"
    ) as error:
        run(TOPK | {"lr": 1e30, "warmup_steps": 0}, activations, tmp_path / "s")
    assert ".state" in str(error.value)
    assert not (tmp_path / "s" / "checkpoint.safetensors").exists()


@pytest.mark.parametrize("normalisation", ["none", "per_dimension"])
def test_infinite_activations_are_named_as_the_cause(normalisation, tmp_path):
    values = np.random.default_rng(0).normal(size=(300, 5))
    values[:, 2] = 1e5  # beyond float16
    with np.errstate(all="ignore"):
        folder = write_activations(tmp_path / "a", {"layer-01.cls": values})
    with pytest.raises(UserError, match="float16 ends at 65,504"):
        run(TOPK | {"normalisation": normalisation}, folder, tmp_path / "s")


def test_constant_dimensions_and_an_outlier_one_train_to_finite_weights(tmp_path):
    values, _ = planted(400, D, 40, 3, 0.05)
    values[:, 0], values[:, 1] = 5, 0
    values[:, 2] *= 1000
    folder = write_activations(tmp_path / "a", {"layer-01.cls": values}, dtype="float32")
    run(TOPK, folder, tmp_path / "s")
    sae = saes.load(tmp_path / "s")
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
        saes.load(tmp_path / "s")


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


# What it learns.
@pytest.mark.slow
def test_a_planted_dictionary_is_recovered(tmp_path):
    vectors, directions = planted(20_000, 48, 64, 2, 0.02)
    folder = write_activations(tmp_path / "a", {"layer-01.cls": vectors}, dtype="float32")
    settings = TOPK | {
        "n_latents": 128, "k": 2, "aux_k": 32, "dead_after": 5000, "normalisation": "centred",
        "batch_size": 256, "epochs": 20.0, "lr": 0.002, "held_out": 0.05, "eval_every": 500,
    }  # fmt: skip
    run(settings, folder, tmp_path / "s")
    sae = saes.load(tmp_path / "s")
    best = (sae.W_dec.numpy() @ directions.T).max(axis=0)
    assert best.mean() > 0.95
    assert lines(tmp_path / "s")[-1]["eval_nmse"] < 0.1


def test_no_step_spends_its_decoder_gradient_on_the_length_of_rows():
    vectors, _ = planted(64, 32, 128, 6, 0.05)
    sae = saes.build(TOPK, 32)
    trainer = fit.Trainer(sae, lr=0.001, warmup_steps=0, dead_after=64, mean=vectors.mean(0))
    before = sae.W_dec.detach().clone()
    trainer.train(vectors)
    along = (sae.W_dec.grad * before).sum(dim=1)
    assert along.abs().max() < 1e-5 * sae.W_dec.grad.norm(dim=1).max()


@pytest.mark.slow
@pytest.mark.parametrize(("aux_k", "revived"), [(4, True), (0, False)])
def test_latents_that_start_too_weak_to_be_selected_live_by_the_auxiliary_loss(aux_k, revived):
    vectors, _ = planted(8000, 32, 128, 6, 0.05)
    settings = {
        "n_latents": 256,
        "k": 4,
        "aux_k": aux_k,
        "aux_coefficient": 1 / 32 if aux_k else 0.0,
    }
    sae = saes.build(TOPK | settings, 32, torch.Generator().manual_seed(0))
    with torch.no_grad():
        sae.W_enc[:, :128] *= 0.05
    trainer = fit.Trainer(sae, lr=0.001, warmup_steps=5, dead_after=10_000, mean=vectors.mean(0))
    order = np.random.default_rng(0)
    for _ in range(400):
        trainer.train(vectors[order.integers(0, 8000, 256)] - vectors.mean(0))
    assert (int(trainer.dead().sum()) < 40) == revived


def test_the_l1_penalty_makes_latents_sparse(activations, truth, tmp_path):
    run(RELU | {"l1": 0.3, "epochs": 20.0}, activations, tmp_path / "s")
    before = json.loads(truth["relu"]["train.jsonl"].splitlines()[-1])
    assert lines(tmp_path / "s")[-1]["l0"] < 0.5 * before["l0"]


def test_the_same_lines_give_the_same_picture(tmp_path):
    rows = [
        {"step": i, "examples": 64 * i, "loss": 1 / i, "nmse": 1 / i, "l0": 4.0, "dead": i}
        for i in range(1, 5)
    ]
    for name in "ab":
        draw(rows, 48, "cls", tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    draw(rows[:-1], 48, "cls", tmp_path / "b")
    assert (tmp_path / "a").read_bytes() != (tmp_path / "b").read_bytes()


def test_each_epoch_has_an_order_of_its_own_that_seed_and_epoch_alone_decide():
    class Numbers:
        n, d = 40, 1

        def gather(self, indices):
            return indices.astype(np.float32)[:, None]

    def epochs(seed):
        seen = np.concatenate(list(data.batches(Numbers(), 10, seed, 0, 12)))[:, 0]
        return seen.reshape(3, 40)

    first, second, third = epochs(0)
    for order in (first, second, third):
        assert sorted(order) == list(range(40))
    assert not np.array_equal(first, second)
    assert not np.array_equal(second, third)
    np.testing.assert_array_equal(epochs(0), [first, second, third])
    assert not np.array_equal(epochs(1)[0], first)
