"""Trainings that are interrupted and go on."""

import json
import os
import signal
import time

import pytest
import torch
from trained import EVERY, EVERYTHING, LONG, RELU, RESULTS, TOPK, lines, run, start

from saev.core import stop
from saev.core.errors import UserError
from saev.core.state import state as state_of
from saev.train import fit
from saev.train.training_state import State


class Halt(Exception):
    pass


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("saves", [1, 2, 13, 30])
def test_going_on_from_any_state_gives_the_bytes_of_the_undisturbed_run(
    name, saves, activations, truth, tmp_path, monkeypatch, saving
):
    original, count = fit.State.save, []

    def save_then_halt(self, tensors, step):
        original(self, tensors, step)
        count.append(step)
        if len(count) == saves:
            self.append({"step": "of a later, lost part of the run"})
            raise Halt

    monkeypatch.setattr(fit.State, "save", save_then_halt)
    with pytest.raises(Halt):
        run(EVERY[name], activations, tmp_path / "s")
    assert not any((tmp_path / "s" / name).exists() for name in RESULTS)
    monkeypatch.setattr(fit.State, "save", original)
    steps = []
    original_train = fit.Trainer.train
    monkeypatch.setattr(
        fit.Trainer,
        "train",
        lambda self, x: (steps.append(self.step), original_train(self, x))[1],
    )
    assert run(EVERY[name], activations, tmp_path / "s") == truth[name]
    assert steps[0] == count[-1] == saves


# A stronger penalty, so that latents die.
DYING = RELU | {"l1": 1.0, "lr": 0.02, "ghost_gradients": True, "mse_over_norm": True}


@pytest.mark.parametrize("settings", [TOPK, DYING], ids=["topk", "relu"])
def test_with_every_option_on_it_goes_on_from_every_state_and_threads_change_no_byte(
    settings, activations, tmp_path, monkeypatch, saving
):
    settings = settings | EVERYTHING
    whole = run(settings, activations, tmp_path / "t1" / "s")
    assert run(settings, activations, tmp_path / "t3" / "s", threads=3) == whole
    torch.set_num_threads(1)
    last = lines(tmp_path / "t1" / "s")[-1]
    assert last["resampled"] > 0
    assert json.loads(whole["meta.json"])["summary"]["stopped_early"]
    original, halted = fit.State.save, []

    def save_then_halt(self, tensors, step):
        original(self, tensors, step)
        halted.append(step)
        raise Halt

    # Each try does one step, saves, and is lost: all states are gone through.
    monkeypatch.setattr(fit.State, "save", save_then_halt)
    out = tmp_path / "s"
    while True:
        try:
            found = run(settings, activations, out)
            break
        except Halt:
            pass
    assert found == whole
    assert halted == list(range(1, last["step"]))


def test_a_damaged_state_is_left_aside(activations, truth, tmp_path, monkeypatch, said, saving):
    monkeypatch.setattr(
        fit.Trainer, "finite", lambda self: self.step < 9 or (_ for _ in ()).throw(Halt)
    )
    with pytest.raises(Halt):
        run(TOPK, activations, tmp_path / "s")
    monkeypatch.undo()
    (state,) = (tmp_path / "s" / ".state").glob("*/state.safetensors")
    state.write_bytes(state.read_bytes()[:-100])
    assert run(TOPK, activations, tmp_path / "s") == truth["topk"]
    text = said()
    assert "can't be used (it is damaged, " in text
    assert ": starting from the first step" in text


def test_no_flipped_bit_of_a_state_or_its_curve_is_trained_on(tmp_path, said):
    with state_of(tmp_path, "work") as held:
        state = State(held, "cpu")
        state.load()
        state.append({"step": 1, "loss": 0.5})
        tensors = {"w": torch.ones(4, 3).T, "dead": torch.zeros(5, dtype=torch.bool)}
        state.save({**tensors, "n": torch.tensor(3)}, 1)
        path = held.folder / "state.safetensors"
        whole, curve = path.read_bytes(), state.curve.read_bytes()
        assert torch.equal(State(held, "cpu").load()[0]["w"], tensors["w"])
        for file, data in ((path, whole), (state.curve, curve)):
            for place in (len(data) // 2, len(data) - 2):
                path.write_bytes(whole)
                state.curve.write_bytes(curve)
                flipped = bytearray(data)
                flipped[place] ^= 1
                file.write_bytes(flipped)
                assert State(held, "cpu").load() is None
                assert state.curve.read_bytes() == b""
        assert said().count("starting from the first step") == 4


def test_a_state_of_another_kind_of_device_goes_on_with_a_warning(tmp_path, said):
    with state_of(tmp_path, "work") as held:
        first = State(held, "NVIDIA A100")
        assert first.load() is None
        first.save({"w": torch.ones(2)}, 7)
        assert State(held, "NVIDIA A100").load()[1] == 7
        assert "warning" not in said()
        tensors, step = State(held, "cpu").load()
        assert step == 7
        assert torch.equal(tensors["w"], torch.ones(2))
        assert "the first 7 steps ran on NVIDIA A100, the others run on cpu" in said()


def test_a_state_of_another_training_is_not_taken_up(
    activations, truth, tmp_path, monkeypatch, saving
):
    monkeypatch.setattr(
        fit.Trainer, "finite", lambda self: self.step < 9 or (_ for _ in ()).throw(Halt)
    )
    for settings, out in ((TOPK | {"lr": 0.002}, "other"), (TOPK, "s")):
        with pytest.raises(Halt):
            run(settings, activations, tmp_path / out)
    monkeypatch.undo()
    (foreign,), (own,) = ((tmp_path / o).glob(".state/*/state.safetensors") for o in ("other", "s"))
    own.write_bytes(foreign.read_bytes())
    with pytest.raises(UserError, match=rf"the state of another training, {foreign.parent.name}, "):
        run(TOPK, activations, tmp_path / "s")
    assert own.read_bytes() == foreign.read_bytes()
    own.unlink()
    assert run(TOPK, activations, tmp_path / "s") == truth["topk"]


@pytest.fixture(scope="module")
def long_truth(activations, tmp_path_factory):
    """Bytes of an undisturbed run that takes long enough to be killed in its middle."""
    return run(LONG, activations, tmp_path_factory.mktemp("long") / "s")


def wait_for_step(n, out, process):
    """Wait until the curve of a running program has ``n`` lines."""
    while process.poll() is None:
        curves = [path.read_text() for path in out.glob(".state/*/train.jsonl")]
        if any(curve.count("\n") >= n for curve in curves):
            return
        time.sleep(0.002)
    raise AssertionError(f"it ended before: {process.stderr.read()}")


@pytest.mark.slow
@pytest.mark.parametrize("step", [0, 1, 7, 60])
def test_killed_at_any_instant_and_run_again_it_ends_with_the_same_bytes(
    step, activations, long_truth, tmp_path
):
    out = tmp_path / "s"
    process = start(LONG, activations, out)
    wait_for_step(step, out, process)
    process.kill()
    process.wait()
    assert not (out / "meta.json").exists()
    assert run(LONG, activations, out) == long_truth
    assert sorted(p.name for p in out.iterdir()) == sorted([*RESULTS, "run.json"])


@pytest.mark.slow
def test_asked_to_stop_it_saves_its_state_and_goes_on_from_there(
    activations, long_truth, tmp_path, monkeypatch
):
    out = tmp_path / "s"
    process = start(LONG, activations, out)
    wait_for_step(3, out, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 128 + signal.SIGTERM
    first = []
    original = fit.Trainer.train
    monkeypatch.setattr(
        fit.Trainer, "train", lambda self, x: (first.append(self.step), original(self, x))[1]
    )
    assert run(LONG, activations, out) == long_truth
    assert first[0] >= 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stop_in_the_middle_of_a_step_is_noticed_after_it(
    number, activations, tmp_path, monkeypatch
):
    original = fit.Trainer.train

    def stop_at_five(self, x):
        if self.step == 4:
            os.kill(os.getpid(), number)
        return original(self, x)

    monkeypatch.setattr(fit.Trainer, "train", stop_at_five)
    before = signal.getsignal(number)
    with pytest.raises(stop.Stopped):
        run(TOPK, activations, tmp_path / "s")
    assert signal.getsignal(number) is before
    (state,) = (tmp_path / "s" / ".state").glob("*/state.safetensors")
    assert b'\\"step\\":5' in state.read_bytes()
