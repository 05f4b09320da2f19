"""A dictionary that shouldn't be trusted is named, before it is trained and on its page."""

import numpy as np
import pytest
from synthetic import planted, write_activations
from trained import SELECTING, TOPK, lines, read, run

from saev.core.errors import UserError
from saev.train.doubts import after, before

EVEN = np.ones(8)


@pytest.mark.parametrize("name", ["batchtopk", "matryoshka"])
def test_a_short_training_ends_with_the_number_of_latents_that_was_asked_for(name, tmp_path):
    vectors, _ = planted(4000, 32, 100, 6, 0.05)
    activations = write_activations(tmp_path / "a", {"layer-01.cls": vectors})
    short = SELECTING[name] | {"k": 8, "epochs": 4.0, "lr": 0.001}
    run(short, activations, tmp_path / "s")
    last = lines(tmp_path / "s")[-1]
    assert last["l0"] == pytest.approx(8, rel=0.01)
    assert last["eval_l0"] == pytest.approx(8, rel=0.1)


def test_few_steps_and_few_examples_are_said():
    settings = read(TOPK, batch_size=64, n_latents=160)
    assert before(settings, 1000, EVEN) == []
    (steps,) = before(settings, 50, EVEN)
    assert "only 50 steps" in steps
    one, examples = before(settings, 1, EVEN)
    assert "only 1 step:" in one
    assert "0.4 training examples per latent" in examples


def test_a_dominant_dimension_is_said_where_the_training_leaves_it_dominant():
    std = np.array([1.0, 0.0, 5.0])
    for normalisation in ("none", "centred", "unit_norm"):
        (dominant,) = before(read(TOPK, normalisation=normalisation), 10_000, std)
        assert "dimension 2 holds 96% of the variance" in dominant
    assert before(read(TOPK, normalisation="per_dimension"), 10_000, std) == []
    assert before(read(TOPK, normalisation="none"), 10_000, np.zeros(3)) == []


@pytest.mark.parametrize(("l0", "doubted"), [(16, False), (17.5, False), (18, True), (14, True)])
def test_another_number_of_active_latents_than_k_is_said(l0, doubted):
    settings = read(SELECTING["batchtopk"], k=16)
    assert bool(after(settings, 1000, EVEN, {"l0": 16.0, "eval_l0": l0})) == doubted
    assert bool(after(settings, 1000, EVEN, {"l0": l0, "eval_l0": None})) == doubted


def test_a_batch_larger_than_the_data_is_refused(activations, tmp_path):
    with pytest.raises(UserError, match="batch_size: 10,000 is more than the"):
        run(TOPK | {"batch_size": 10_000}, activations, tmp_path / "s")


def test_doubts_stand_in_the_result_and_once_on_the_terminal(activations, tmp_path, caplog):
    caplog.set_level("INFO")
    made = run(TOPK | {"epochs": 1.0}, activations, tmp_path / "s")
    assert b"doubts" in made["meta.json"]
    assert caplog.text.count("the training has only") == 1


def test_a_training_shorter_than_dead_after_counts_the_latents_that_never_fired(
    activations, tmp_path
):
    short = TOPK | {"epochs": 2.0, "aux_k": 0, "aux_coefficient": 0.0, "log_every": 1}
    run(short | {"dead_after": 10_000_000}, activations, tmp_path / "never")
    dead = [line["dead"] for line in lines(tmp_path / "never")]
    assert dead[-1] > 0
    assert set(dead[:-1]) == {0}
    n = lines(tmp_path / "never")[-1]["examples"]
    run(short | {"dead_after": n}, activations, tmp_path / "at")
    assert lines(tmp_path / "at")[-1]["dead"] == dead[-1]
