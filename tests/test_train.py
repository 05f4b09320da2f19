"""The `train` stage, on activations made without images."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load
from synthetic import encoded, planted, write_activations
from trained import EVERY, JUMPRELU, RELU, RESULTS, SELECTING, TOPK, build, lines, read, run

from saev.activations.artifact import Activations
from saev.core.blocks import held_out_mask
from saev.train import artifact as trained
from saev.train import fit
from saev.train.learning_plot import draw
from saev.train.stopping import is_spent


@pytest.mark.parametrize("name", EVERY)
def test_the_same_seed_gives_the_same_bytes_for_any_number_of_threads(
    name, activations, truth, tmp_path
):
    for threads in (1, 2, 3):
        found = run(EVERY[name], activations, tmp_path / str(threads) / "s", threads)
        assert found == truth[name]
    torch.set_num_threads(1)


def test_the_seed_of_the_weights_changes_them_alone_and_the_same_number_changes_nothing(
    activations, tmp_path
):
    short = TOPK | {"epochs": 0.2, "seed": 3, "init": "data"}
    plain, same, other = (
        run(short | given, activations, tmp_path / name)
        for name, given in {"a": {}, "b": {"init_seed": 3}, "c": {"init_seed": 4}}.items()
    )
    # The plots' titles and the descriptions name the directory.
    for name in ("checkpoint.safetensors", "train.jsonl"):
        assert plain[name] == same[name]
    assert b"init_seed" not in plain["checkpoint.safetensors"]
    ours, theirs = load(plain["checkpoint.safetensors"]), load(other["checkpoint.safetensors"])
    assert (ours["norm_mean"] == theirs["norm_mean"]).all()
    assert (ours["W_dec"] != theirs["W_dec"]).any(1).mean() > 0.9
    assert read(short, init_seed=3).essential() == read(short).essential()
    assert read(short, init_seed=4).essential() == read(short).essential() | {"init_seed": 4}


@pytest.mark.slow
@pytest.mark.parametrize("settings", EVERY.values(), ids=list(EVERY))
def test_threads_change_no_byte_at_sizes_where_work_is_split(settings, tmp_path):
    vectors, _ = planted(3000, 208, 100, 3, 0.05)
    folder = write_activations(tmp_path / "a", {"layer-01.cls": vectors})
    large = settings | {"n_latents": 784, "batch_size": 1111, "dead_after": 3000}
    large |= {"clip_norm": 0.01, "normalisation": "none", "b_dec_init": "geometric_median"}
    if large["architecture"] != "archetypal":
        large |= {"resample_every": 2500, "init": "data"}
    if "widths" in large:
        large["widths"] = [100, 784]
    found = [run(large, folder, tmp_path / str(t) / "s", t) for t in (1, 2, 4)]
    torch.set_num_threads(1)
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("batch_size", [5, 7, 10])
def test_threads_change_no_byte_of_small_batches(batch_size, tmp_path):
    vectors, _ = planted(300, 208, 100, 3, 0.05)
    folder = write_activations(tmp_path / "a", {"layer-01.cls": vectors})
    small = TOPK | {"n_latents": 784, "batch_size": batch_size, "epochs": 0.3}
    found = [run(small, folder, tmp_path / str(t) / "s", t) for t in (1, 2)]
    torch.set_num_threads(1)
    assert found[0] == found[1]


@pytest.mark.parametrize("n_dead", [5, 7, 9, 16, 50])
def test_threads_do_not_change_what_ghosts_learn(n_dead):
    generator, found = torch.Generator().manual_seed(1), []
    sae = build(RELU, 256, n_latents=784, ghost_gradients=True)
    u, dead = torch.randn(1111, 256, generator=generator), torch.arange(n_dead) * 3
    with torch.no_grad():
        sae.b_enc[dead] = -3.0
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        forward = sae.loss(u, 100, dead)
        assert float(forward.terms.ghost) > 0
        found.append(torch.autograd.grad(forward.terms.loss, list(sae.parameters())))
    torch.set_num_threads(1)
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


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
    sae = trained.load(tmp_path / "s")
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
        norms = trained.load(path).W_dec.double().norm(dim=1)
        torch.testing.assert_close(norms, torch.ones(160, dtype=torch.float64), atol=1e-6, rtol=0)


def test_patches_and_pooled_outputs_can_be_trained_on(activations, tmp_path):
    run(TOPK | {"tokens": "patches", "epochs": 1.0}, activations, tmp_path / "p")
    summary = json.loads((tmp_path / "p/meta.json").read_bytes())["summary"]
    assert summary["n_train_examples"] == 4 * summary["n_train_images"]
    pooled = {k: v for k, v in TOPK.items() if k != "layer"} | {"tokens": "pooled", "epochs": 1.0}
    run(pooled, activations, tmp_path / "o")
    assert trained.load(tmp_path / "o").d == 10


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
    (TOPK, "init_seed", 1),
    (TOPK, "held_out", 0.1),
    (TOPK, "init_rows", 50),
    (TOPK, "b_dec_init", "geometric_median"),
    (TOPK, "init", "data"),
    (TOPK, "schedule", "cosine"),
    (TOPK, "schedule", "linear"),
    (TOPK, "clip_norm", 0.01),
    (TOPK, "resample_every", 640),
    (RELU, "init", "data"),
    (SELECTING["batchtopk"], "k", 3),
    (SELECTING["matryoshka"], "widths", [80, 160]),
    (SELECTING["matryoshka"], "over", "topk"),
    (SELECTING["archetypal"], "n_points", 50),
    (SELECTING["archetypal"], "relaxation", 0.0),
    (JUMPRELU, "sparsity", 0.02),
    (JUMPRELU, "sparsity_warmup_steps", 0),
    (JUMPRELU, "l0_target", 3.0),
    (JUMPRELU, "bandwidth", 0.2),
    (JUMPRELU, "initial_threshold", 0.02),
    (JUMPRELU, "threshold_rate", 10.0),
    (RELU, "l1", 0.05),
    (RELU, "l1_warmup_steps", 0),
]


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "key", "value"), KNOBS)
def test_every_knob_changes_the_weights(settings, key, value, activations, truth, tmp_path):
    found = run(settings | {key: value}, activations, tmp_path / "s")
    path = tmp_path / "before.safetensors"
    path.write_bytes(truth[settings["architecture"]]["checkpoint.safetensors"])
    before, after = trained.load(path).state_dict(), trained.load(tmp_path / "s").state_dict()
    assert found["train.jsonl"] != truth[settings["architecture"]]["train.jsonl"]
    assert any(
        before[name].shape != after[name].shape or not torch.equal(before[name], after[name])
        for name in ("W_enc", "W_dec")
    )


DEPENDENT = [
    ({"schedule": "linear"}, "schedule", "cosine"),
    ({"schedule": "linear"}, "decay_from", 0.5),
    ({"schedule": "linear"}, "lr_end", 0.5),
    ({"clip_norm": 0.01}, "clip_norm", 0.02),
    ({"resample_every": 640}, "resample_every", 960),
    ({"resample_every": 640}, "resample_until", 0.9),
    ({"patience": 1, "min_improvement": 0.3, "eval_every": 5}, "patience", 2),
    ({"patience": 1, "min_improvement": 0.3, "eval_every": 5}, "min_improvement", 0.0),
]


@pytest.mark.slow
@pytest.mark.parametrize(("others", "key", "value"), DEPENDENT)
def test_every_knob_that_needs_another_changes_the_weights(
    others, key, value, activations, tmp_path
):
    run(TOPK | others, activations, tmp_path / "a")
    run(TOPK | others | {key: value}, activations, tmp_path / "b")
    before, after = (trained.load(tmp_path / name) for name in "ab")
    assert not torch.equal(before.W_dec, after.W_dec)


@pytest.mark.parametrize(("key", "value"), [("log_every", 3), ("eval_every", 9)])
def test_knobs_of_the_curve_change_the_curve(key, value, activations, truth, tmp_path):
    settings = RELU | {key: value}
    assert run(settings, activations, tmp_path / "s")["train.jsonl"] != truth["relu"]["train.jsonl"]


def test_the_norm_of_gradients_is_in_the_curve_where_they_are_clipped(activations, truth, tmp_path):
    run(TOPK | {"clip_norm": 0.01}, activations, tmp_path / "s")
    assert all(line["grad_norm"] > 0 for line in lines(tmp_path / "s"))
    assert "eval_grad_norm" not in lines(tmp_path / "s")[-1]
    assert b"grad_norm" not in truth["topk"]["train.jsonl"]


def test_the_rate_in_the_curve_is_the_schedules(activations, tmp_path):
    run(TOPK | {"schedule": "linear"}, activations, tmp_path / "s")
    found = {line["step"]: line["lr"] for line in lines(tmp_path / "s")}
    last = max(found)
    assert found[last] == pytest.approx(0.003 / (last - 5))
    assert found[21] == pytest.approx(0.003 * (1 - 15 / (last - 5)))


def test_it_stops_when_held_out_images_are_reconstructed_no_better(activations, truth, tmp_path):
    settings = TOPK | {"eval_every": 5, "patience": 2, "min_improvement": 0.3}
    files = run(settings, activations, tmp_path / "s")
    found = [line["eval_nmse"] for line in lines(tmp_path / "s") if "eval_nmse" in line]
    assert not is_spent(found[:-1], 2, 0.3)
    assert is_spent(found, 2, 0.3)
    summary = json.loads(files["meta.json"])["summary"]
    assert summary["stopped_early"] is True
    assert summary["steps"] == lines(tmp_path / "s")[-1]["step"] == 5 * len(found) < 45
    assert summary["examples"] == 64 * summary["steps"]
    # One that has no reason to stop is the one without patience.
    patient = run(TOPK | {"patience": 99}, activations, tmp_path / "p")
    assert patient["train.jsonl"] == truth["topk"]["train.jsonl"]
    assert json.loads(patient["meta.json"])["summary"]["stopped_early"] is False
    assert b"stopped_early" not in truth["topk"]["meta.json"]


def test_latents_die_after_as_many_vectors_as_the_setting_says(activations, tmp_path):
    sparse = RELU | {"l1": 5.0, "lr": 0.2, "log_every": 1, "epochs": 3.0}
    for after in (64, 640):
        run(sparse | {"dead_after": after}, activations, tmp_path / str(after))
    early, late = (
        {line["step"]: line["dead"] for line in lines(tmp_path / str(after))} for after in (64, 640)
    )
    assert early[9] > 0
    assert all(late[step] == 0 for step in range(1, 10))
    assert late[20] > 0


def test_the_trainer_is_given_no_held_out_image(activations, tmp_path, monkeypatch):
    folder = encoded(tmp_path / "e")
    seen = []
    original = fit.Trainer.train

    def recording(self, x):
        seen.append(x.copy())
        return original(self, x)

    monkeypatch.setattr(fit.Trainer, "train", recording)
    run(TOPK | {"layer": 0, "tokens": "patches", "epochs": 2.0}, folder, tmp_path / "s")
    rows = np.unique(np.concatenate(seen)[:, 0].astype(int))
    assert np.array_equal(rows, np.flatnonzero(~held_out_mask(np.arange(600), 0.2, 0)))


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
    sae = trained.load(tmp_path / "s")
    best = (sae.W_dec.numpy() @ directions.T).max(axis=0)
    assert best.mean() > 0.95
    assert lines(tmp_path / "s")[-1]["eval_nmse"] < 0.1


def test_the_l1_penalty_makes_latents_sparse(activations, truth, tmp_path):
    run(RELU | {"l1": 0.3, "epochs": 20.0}, activations, tmp_path / "s")
    before = json.loads(truth["relu"]["train.jsonl"].splitlines()[-1])
    assert lines(tmp_path / "s")[-1]["l0"] < 0.5 * before["l0"]


def test_the_same_lines_give_the_same_plot(tmp_path):
    rows = [
        {"step": i, "examples": 64 * i, "loss": 1 / i, "nmse": 1 / i, "l0": 4.0, "dead": i}
        for i in range(1, 5)
    ]
    for name in "ab":
        draw(rows, 48, "cls", tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    draw(rows[:-1], 48, "cls", tmp_path / "b")
    assert (tmp_path / "a").read_bytes() != (tmp_path / "b").read_bytes()
