"""Dead latents that start again from poorly reconstructed vectors."""

import numpy as np
import pytest
import torch
from synthetic import planted
from trained import JUMPRELU, RELU, TOPK, build, lines, read, run

from saev.train import resample
from saev.train.trainer import Trainer

D = 16


class Array:
    """Vectors in an array."""

    def __init__(self, values):
        self.values = values.astype(np.float32)
        self.n, self.d = values.shape

    def gather(self, indices):
        return self.values[indices]


def trainer_of(settings=TOPK, n_steps=100, **changes):
    sae = build(settings, D, n_latents=48, resample_every=640, **changes)
    return Trainer(sae, n_steps=n_steps, mean=np.zeros(D))


def stepped(settings=TOPK, dead=(3, 7, 40), **changes):
    """A trainer after a few steps, of which ``dead`` are the dead latents, and its vectors."""
    values, _ = planted(400, D, 24, 3, 0.05)
    trainer = trainer_of(settings, **changes)
    for start in range(0, 320, 64):
        trainer.train(values[start : start + 64])
    trainer.silent.zero_()
    trainer.silent[list(dead)] = trainer.settings.dead_after
    trainer.take_for_dead(trainer.dead())
    return trainer, Array(values)


@pytest.mark.parametrize("settings", [TOPK, RELU, JUMPRELU], ids=["topk", "relu", "jumprelu"])
def test_dead_latents_and_nothing_else_start_again(settings):
    trainer, vectors = stepped(settings)
    before = {name: t.clone() for name, t in trainer.tensors().items()}
    assert resample.resample(trainer, vectors) == 3
    after, sae = trainer.tensors(), trainer.sae
    dead = torch.zeros(48, dtype=torch.bool)
    dead[[3, 7, 40]] = True
    for name in ("sae.W_dec", "sae.W_enc", "sae.b_enc"):
        axis = 1 if name == "sae.W_enc" else 0
        for key in (name, *(f"adam.{name[4:]}.{m}" for m in ("exp_avg", "exp_avg_sq"))):
            old, new = (t[key].movedim(axis, 0) for t in (before, after))
            assert torch.equal(old[~dead], new[~dead]), key
            if key.startswith("adam"):
                assert old[~dead].any()
                assert not new[dead].any(), key
    for key in ("sae.b_dec", "adam.b_dec.exp_avg"):
        assert torch.equal(before[key], after[key])
    assert not sae.b_enc[dead].any()
    assert not trainer.silent.any()
    assert trainer.dead_latents is None
    assert trainer.resampled == 3
    # Directions of vectors seen from the bias; columns of a fifth of the living ones' mean norm.
    u = sae.normalise(torch.from_numpy(vectors.values)) - sae.b_dec
    cosines = sae.W_dec[dead] @ (u / u.norm(dim=1, keepdim=True)).T
    torch.testing.assert_close(cosines.max(dim=1).values, torch.ones(3))
    assert len(set(cosines.argmax(dim=1).tolist())) == 3
    length = 0.2 * before["sae.W_enc"].norm(dim=0)[~dead].mean()
    torch.testing.assert_close(sae.W_enc[:, dead], sae.W_dec[dead].T * length)


def test_every_process_chooses_by_the_errors_that_the_first_one_found(monkeypatch):
    trainer, vectors = stepped(dead=(3,))

    def spread(errors):
        return torch.zeros_like(errors).index_fill_(0, torch.tensor([5]), 1.0)

    monkeypatch.setattr(trainer.processes, "spread", spread)
    assert resample.resample(trainer, vectors) == 1
    u = trainer.sae.normalise(torch.from_numpy(vectors.values)) - trainer.sae.b_dec
    assert int((trainer.sae.W_dec[3] @ (u / u.norm(dim=1, keepdim=True)).T).argmax()) == 5


def test_a_latent_that_starts_again_has_a_threshold_that_fits_its_column():
    trainer, vectors = stepped(JUMPRELU)
    sae, dead = trainer.sae, torch.tensor([3, 7, 40])
    with torch.no_grad():
        sae.log_threshold[dead] = 9.0  # why they are dead
    living = np.delete(sae.log_threshold.detach().exp().numpy(), dead)
    assert resample.resample(trainer, vectors) == 3
    theta = sae.log_threshold.detach().exp().numpy()
    np.testing.assert_allclose(theta[dead], 0.2 * living.mean(), rtol=1e-5)
    np.testing.assert_array_equal(np.delete(theta, dead), living)
    for moment in trainer.adam.moments["log_threshold"]:
        assert not moment[dead].any()
        assert moment.any()
    fires = (sae.encode(torch.from_numpy(vectors.values)) > 0).any(dim=0)
    assert fires[dead].all()
    trainer, vectors = stepped(JUMPRELU, dead=range(48))  # no living threshold to go by
    assert resample.resample(trainer, vectors) == 48
    torch.testing.assert_close(trainer.sae.log_threshold.exp(), torch.full((48,), 0.001))


def test_vectors_are_drawn_in_proportion_to_their_squared_error():
    trainer, vectors = stepped(dead=[5])
    errors = resample.squared_errors(trainer, vectors, np.arange(400))
    x = torch.from_numpy(vectors.values)
    plain = (x - trainer.sae(x)).square().sum(dim=1).detach().numpy()
    np.testing.assert_allclose(errors, plain, rtol=1e-4)  # no normalisation was set: scale 1
    state = {name: t.clone() for name, t in trainer.tensors().items()}
    u = trainer.sae.normalise(x) - trainer.sae.b_dec
    found = []
    for step in range(1000, 4000):
        trainer.restore({name: t.clone() for name, t in state.items()}, step)
        resample.resample(trainer, vectors)
        found.append(int((u @ trainer.sae.W_dec[5] / u.norm(dim=1)).argmax()))
    order = np.argsort(errors)
    share = np.isin(found, order[200:]).mean()
    assert share == pytest.approx(errors[order[200:]].sum() / errors.sum(), abs=0.03)
    assert share > 0.6


def test_it_happens_when_a_multiple_of_the_vectors_is_crossed_and_only_until_its_share():
    trainer = trainer_of(n_steps=60, batch_size=100, resample_until=0.5)
    due = []
    for step in range(60):
        trainer.step = step
        if resample.is_due(trainer):
            due.append(step)
    # 640, 1280, 1920, 2560 vectors; 3200 come after half of the steps.
    assert due == [7, 13, 20, 26]
    trainer.settings = read(TOPK)
    assert not resample.is_due(trainer)


def test_none_dead_or_too_few_vectors_or_bad_weights_do_no_harm():
    trainer, vectors = stepped(dead=())
    before = {name: t.clone() for name, t in trainer.tensors().items()}
    assert resample.resample(trainer, vectors) == 0
    assert all(torch.equal(t, before[name]) for name, t in trainer.tensors().items())
    trainer, vectors = stepped(dead=range(10))
    assert resample.resample(trainer, Array(vectors.values[:4])) == 4
    assert int(trainer.dead().sum()) == 6
    trainer, vectors = stepped(dead=range(48))  # no living column to take the length of
    assert resample.resample(trainer, vectors) == 48
    length = trainer.sae.initial_encoder_scale()
    torch.testing.assert_close(trainer.sae.W_enc.norm(dim=0), torch.full((48,), length))
    trainer, vectors = stepped()
    with torch.no_grad():
        trainer.sae.b_dec[0] = torch.nan
    assert resample.resample(trainer, vectors) == 0


def test_the_curve_says_how_many_were_given_a_new_start(activations, tmp_path):
    run(RELU | {"resample_every": 640, "l1": 1.0, "lr": 0.02}, activations, tmp_path / "s")
    found = [line["resampled"] for line in lines(tmp_path / "s")]
    assert found[0] == 0 < found[-1]
    assert found == sorted(found)
    assert not [key for key in lines(tmp_path / "s")[-1] if key == "eval_resampled"]
