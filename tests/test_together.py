"""Dictionaries trained in one pass over the activations, each with the bytes that it has alone."""

import json
import signal
import subprocess
import sys
import time

import pytest
import torch
from synthetic import planted, write_activations
from test_settings import GOOD
from trained import ROOT, write_plan

from saev.core import plan_file, stop
from saev.core.errors import UserError
from saev.settings.config import parse
from saev.train import __main__ as train
from saev.train import fit, loader
from saev.workflow.groups import groups

D = 16
RESULTS = ("checkpoint.safetensors", "train.jsonl", "curves.png", "meta.json")
BASE = {
    "architecture": "topk",
    "layer": 1,
    "tokens": "cls",
    "n_latents": 64,
    "k": 4,
    "aux_k": 8,
    "aux_coefficient": 0.03,
    "dead_after": 64,
    "normalisation": "per_dimension",
    "batch_size": 64,
    "epochs": 3.0,
    "lr": 0.003,
    "held_out": 0.2,
    "log_every": 7,
    "eval_every": 10,
}
RELU = {k: v for k, v in BASE.items() if k not in ("k", "aux_k", "aux_coefficient")} | {
    "architecture": "relu",
    "l1": 0.03,
}
# One is too narrow for threads to leave its bytes alone, and so is computed with one.
POINTS = {
    "a": BASE | {"n_latents": 64},
    "b": BASE | {"k": 2, "lr": 0.001, "log_every": 3},
    "c": BASE | {"n_latents": 40, "normalisation": "centred"},
    "d": RELU,
}


@pytest.fixture(scope="module")
def activations(tmp_path_factory):
    vectors, _ = planted(600, D, 40, 3, 0.05)
    return write_activations(tmp_path_factory.mktemp("a") / "vit", {"layer-01.cls": vectors})


@pytest.fixture(scope="module")
def alone(activations, tmp_path_factory):
    """Bytes of each point trained by itself."""
    base = tmp_path_factory.mktemp("alone")
    found = {}
    for name, settings in POINTS.items():
        train.main(arguments(activations, base / name, settings))
        found[name] = bytes_of(base / name)
    torch.set_num_threads(1)
    return found


def arguments(activations, out, settings, code="c0de", threads=2):
    spec = json.dumps({"settings": settings, "code": code})
    return [
        *("--spec", spec, "--activations", str(activations), "--out", str(out)),
        *("--threads", str(threads)),
    ]


def bytes_of(out):
    return {name: (out / name).read_bytes() for name in RESULTS}


class Sweep:
    """Points in a folder of their own, with a plan that puts them together."""

    def __init__(self, folder, activations, monkeypatch):
        self.vit, self.activations, self.passes = folder / "images" / "vit", activations, []
        self.plan = folder / "plan.json"
        self.write_plan(POINTS)
        monkeypatch.setenv(plan_file.PLAN_VARIABLE, str(self.plan))
        original = loader.batches

        def counted(vectors, batch_size, seed, first_step, n_steps, *more):
            self.passes.append(first_step)
            return original(vectors, batch_size, seed, first_step, n_steps, *more)

        monkeypatch.setattr(loader, "batches", counted)

    def write_plan(self, members, **compute):
        together = {"images/vit": [{"key": "5eed", "members": members}]}
        write_plan(self.plan, together=together, **compute)

    def run(self, name, code="c0de", settings=None):
        stamp = self.vit / name / ".train_sae.done"
        stamp.unlink(missing_ok=True)  # as Snakemake does before a job
        given = settings or POINTS[name]
        train.main(
            [*arguments(self.activations, self.vit / name, given, code), "--done", str(stamp)]
        )

    def made(self):
        return {name: bytes_of(self.vit / name) for name in POINTS}


@pytest.fixture
def sweep(activations, tmp_path, monkeypatch):
    yield Sweep(tmp_path, activations, monkeypatch)
    torch.set_num_threads(1)


def test_one_pass_gives_each_the_bytes_that_it_has_alone(sweep, alone):
    sweep.run("b")
    assert not (sweep.vit / "a").joinpath("meta.json").exists()
    for name in ("a", "c", "d"):
        sweep.run(name)
    assert sweep.passes == [0]
    assert sweep.made() == alone
    assert list(sweep.vit.rglob(".state")) == []
    by = json.loads((sweep.vit / "a/run.json").read_text())["trained_by"]
    assert by == "b"


def test_a_change_of_code_trains_all_again_in_one_pass(sweep, alone):
    for code in ("c0de", "0ther"):
        for name in POINTS:
            sweep.run(name, code)
    assert sweep.passes == [0, 0]
    assert sweep.made() == alone


def test_only_points_that_are_not_valid_are_trained(sweep, alone):
    sweep.write_plan({name: POINTS[name] for name in "ab"})
    for name in "ab":
        sweep.run(name)
    sweep.write_plan(POINTS)
    kept = {name: (sweep.vit / name / "run.json").read_bytes() for name in "ab"}
    trained = []
    original = fit.Learner.__init__
    fit_init = lambda self, *given: (trained.append(given[4]), original(self, *given))[1]  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit.Learner, "__init__", fit_init)
        sweep.run("c")
        sweep.run("d")
    assert trained == ["c", "d"]
    assert kept == {name: (sweep.vit / name / "run.json").read_bytes() for name in "ab"}
    assert sweep.made() == alone


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["meta.json", "checkpoint.safetensors", "run.json"])
def test_a_point_that_lost_a_file_is_trained_again_with_the_next(lost, sweep, alone):
    sweep.write_plan({"a": POINTS["a"]})
    sweep.run("a")
    (sweep.vit / "a" / lost).unlink()
    sweep.write_plan(POINTS)
    for name in "bacd":
        sweep.run(name)
    assert sweep.passes == [0, 0]
    assert sweep.made() == alone


class Halt(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("halted", [1, 2, 30, 31, 50, 83])
def test_stopped_between_any_two_states_it_ends_with_the_same_bytes(
    halted, sweep, alone, monkeypatch
):
    sweep.write_plan(POINTS, state_seconds=0)
    original, count = fit.State.save, []

    def save_then_halt(self, tensors, step):
        original(self, tensors, step)
        count.append(step)
        if len(count) == halted:
            raise Halt

    with monkeypatch.context() as patch:
        patch.setattr(fit.State, "save", save_then_halt)
        with pytest.raises(Halt):
            sweep.run("a")
    for name in "cabd":
        sweep.run(name)
    # Points at another step than the others are brought up in the same pass.
    start = (halted // 4) if halted >= 4 else 0
    assert sweep.passes == [0, start]
    assert sweep.made() == alone


@pytest.mark.slow
def test_a_point_whose_own_state_is_ahead_waits_for_the_others(sweep, alone, monkeypatch):
    sweep.write_plan({"c": POINTS["c"]}, state_seconds=0)
    original = fit.Trainer.finite
    with monkeypatch.context() as patch:
        patch.setattr(
            fit.Trainer,
            "finite",
            lambda self: (self.step < 9 and original(self)) or (_ for _ in ()).throw(Halt),
        )
        with pytest.raises(Halt):
            sweep.run("c")
    sweep.write_plan(POINTS)
    for name in "abcd":
        sweep.run(name)
    assert sweep.passes == [0, 0]
    assert sweep.made() == alone


def test_asked_to_stop_all_states_are_saved_at_the_step(sweep, alone, monkeypatch):
    original = fit.Trainer.train

    def stop_at_five(self, x):
        # While the second of four points is in the middle of its step.
        if self.step == 4 and self.settings.lr == POINTS["b"]["lr"]:
            signal.raise_signal(signal.SIGTERM)
        return original(self, x)

    with monkeypatch.context() as patch:
        patch.setattr(fit.Trainer, "train", stop_at_five)
        with pytest.raises(stop.Stopped):
            sweep.run("a")
    for name in "abcd":
        sweep.run(name)
    assert sweep.passes == [0, 5]
    assert sweep.made() == alone


@pytest.mark.slow
def test_a_partner_that_diverges_is_left_out_and_told_of_by_its_own_job(sweep, alone, said):
    wild = BASE | {"lr": 1e30}
    sweep.write_plan(POINTS | {"wild": wild})
    sweep.run("a")
    assert "leaving wild out of this pass: the loss stopped being finite" in said()
    with pytest.raises(UserError, match=r"lr: 1e\+30 is probably too high"):
        sweep.run("wild", settings=wild)
    for name in "bcd":
        sweep.run(name)
    assert sweep.made() == alone


@pytest.mark.slow
@pytest.mark.parametrize("step", [4, 10_000], ids=["while it is trained", "when it is finished"])
def test_a_partner_whose_state_was_taken_over_is_left_out(sweep, alone, monkeypatch, said, step):
    taken = []

    def take(learner):
        if learner.name == "b" and not taken:
            taken.append(learner.state.held.lock.path)
            taken[0].write_text('{"host": "elsewhere", "pid": 1, "started": null, "token": "x"}')

    train_step, save = fit.Learner.step, train.finished.write
    monkeypatch.setattr(
        fit.Learner,
        "step",
        lambda self, *given: (
            take(self) if self.trainer.step == step else None,
            train_step(self, *given),
        )[1],
    )
    monkeypatch.setattr(
        train.finished, "write", lambda learner, *a, **k: (take(learner), save(learner, *a, **k))
    )
    sweep.run("a")
    assert "leaving b out of this pass: the state of" in said()
    assert "is in use by process 1 on elsewhere" in said()
    taken[0].unlink()
    for name in "bcd":
        sweep.run(name)
    assert sweep.made() == alone


@pytest.mark.slow
def test_a_job_waits_for_the_one_that_trains_and_takes_over_its_share(sweep, alone, said):
    sweep.write_plan(POINTS, state_seconds=0)
    first = subprocess.Popen(
        [
            *(sys.executable, "-m", "saev.train"),
            *arguments(sweep.activations, sweep.vit / "a", POINTS["a"]),
        ],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    while not list(sweep.vit.glob(".state/together-*.lock")) and first.poll() is None:
        time.sleep(0.01)
    sweep.run("b")
    assert f"in use by process {first.pid}" in said()
    assert first.wait() == 0
    for name in "cd":
        sweep.run(name)
    assert sweep.passes == []
    assert sweep.made() == alone


def test_those_that_see_the_same_batches_are_together_and_no_others():
    raw = {**GOOD, "train": {"together": True}}
    same = {"k": [1, 2], "lr": [0.1, 0.2], "normalisation": ["none", "centred"]}
    own = {k: v for k, v in GOOD["sae"]["small"].items() if k not in same}
    small = GOOD["sae"]["small"]
    raw["runs"] = [{**GOOD["runs"][0], "sae": "s"}]
    raw["sae"] = {
        "s": own | {"sweep": same},
        "alone": small,
        **{
            f"other-{key}": small | {key: value}
            for key, value in {
                "layer": 6, "held_out": 0.5, "seed": 1, "batch_size": 5, "epochs": 2,
            }.items()
        },
    }  # fmt: skip

    def found(raw):
        config = parse(raw)
        names = [name for name in config.sae if name != "alone"]
        runs = [{"images": "i", "vit": "v", "sae": name} for name in names]
        known = {n: {"entry": n, "settings": {"of": n}, "resolved": {}} for n in names}
        return groups(config, runs, {"sae": known})

    ((group,),) = found(raw).values()
    assert list(found(raw)) == ["i/v"]
    assert sorted(group["members"]) == sorted(parse(raw).sweeps["s"])
    assert group["members"]["s.k-1.lr-0.1.normalisation-none"] == {
        "of": "s.k-1.lr-0.1.normalisation-none"
    }
    assert found({**raw, "train": {"together": False}}) == {}
