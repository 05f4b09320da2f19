"""A long training is accepted only if its first and its last steps can be made again."""

from contextlib import suppress
from types import SimpleNamespace

import pytest
from trained import TOPK, run, write_plan

from saev.core.stop import Stopped
from saev.parity.lab import Made
from saev.parity.long_training import Long, compare_long
from saev.parity.verdict import Level
from saev.settings.parity import ParitySettings
from saev.train import fit, last_state, trainer

SETTINGS = TOPK | {"epochs": 12.0, "log_every": 1, "schedule": "linear", "decay_from": 0.8}
NAMES = {"images": "i", "vit": "v", "sae": "s"}
LATE, STEPS = 60, 89


@pytest.fixture
def train(activations, monkeypatch):
    """Train in this process into a folder of results, and stop where it is asked to."""

    def to(results, until):
        monkeypatch.setattr(fit, "agreed", lambda first, step, asked: until(step))
        with suppress(Stopped):
            run(SETTINGS, activations, results / "i/v/s")

    return to


@pytest.fixture
def compared(train, tmp_path, monkeypatch):
    """Compares a finished training, whose last state is that of step 60, with another one."""
    plan = write_plan(tmp_path / "plan.json", state_seconds=1e9, keep_state_after=0)
    for name, value in plan.items():
        monkeypatch.setenv(name, value)
    train(tmp_path / "results", lambda step: step == LATE - 1)
    train(tmp_path / "results", lambda step: False)
    long = Long(Made.at("train", tmp_path / "results", NAMES), tmp_path / "stamp", 0.0)
    again = tmp_path / "again"

    def make(stamp, doing, until=None):
        train(again, lambda step: step > 20 and until is not None and until())

    scratch = SimpleNamespace(results=again, make=make)
    return lambda: compare_long(long, scratch, ParitySettings())


def test_the_first_and_the_last_steps_are_made_again(compared, tmp_path):
    verdict, what = compared()
    assert verdict.level == Level.BIT_EQUAL, verdict
    assert what.endswith(f" of {STEPS} steps, and those after step {LATE}")
    assert what.startswith("the first 2")
    (kept,) = (tmp_path / "results/i/v/s" / last_state.FOLDER).iterdir()
    assert kept.name == "state.safetensors"


@pytest.mark.parametrize("begins", [0.5, 0.95])
def test_a_fault_that_begins_late_is_found(compared, begins, monkeypatch):
    right = trainer.learning_rate

    def wrong(settings, step, n):
        return right(settings, step, n) * (0.999 if step >= begins * n else 1)

    monkeypatch.setattr(trainer, "learning_rate", wrong)
    verdict, what = compared()
    assert verdict.level == Level.DIFFERENT
    assert f"and those after step {LATE}" in what  # the first steps agree


def test_without_the_last_state_nothing_is_said_of_the_end(compared, tmp_path):
    (tmp_path / "results/i/v/s" / last_state.FOLDER / "state.safetensors").unlink()
    verdict, _ = compared()
    assert verdict.level == Level.UNKNOWN
    assert "steps agree, but its last ones can't be made again" in verdict.text


def test_a_short_training_keeps_no_state_and_one_made_anew_drops_that_of_the_old(
    compared, train, tmp_path, monkeypatch
):
    folder = tmp_path / "results/i/v/s"
    assert (folder / last_state.FOLDER).exists()
    monkeypatch.setenv(*next(iter(write_plan(tmp_path / "plan-2.json").items())))
    train(tmp_path / "results", lambda step: False)
    assert not (folder / last_state.FOLDER).exists()
