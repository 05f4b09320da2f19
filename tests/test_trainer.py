"""Steps of training: gradients, the rate, silence."""

import numpy as np
import pytest
import torch
from synthetic import planted
from trained import JUMPRELU, RELU, TOPK, build

from saev.core.progress import Progress
from saev.core.spec import parsed
from saev.sae.base import Sae
from saev.settings.sae import AnySaeSettings
from saev.train.clip import clipping
from saev.train.trainer import Trainer, in_short


def test_no_step_spends_its_decoder_gradient_on_the_length_of_rows():
    vectors, _ = planted(64, 32, 128, 6, 0.05)
    sae = build(TOPK, lr=0.001, warmup_steps=0)
    trainer = Trainer(sae, n_steps=10, mean=vectors.mean(0))
    before = sae.W_dec.detach().clone()
    trainer.train(vectors)
    taken = trainer.adam.moments["W_dec"][0]
    along = (taken * before).sum(dim=1)
    assert along.abs().max() < 1e-5 * taken.norm(dim=1).max()


def weak_encoder(sae):
    sae.W_enc[:, :128] *= 0.05


def low_biases(sae):
    sae.b_enc[:128] = -1


# Settings, aux_k, and what keeps half of the latents from firing; JumpReLU's thresholds do by
# themselves.
DYING = {
    "topk": (TOPK | {"k": 4, "lr": 0.001}, 4, weak_encoder),
    "relu": (RELU | {"l1": 0.03, "l1_warmup_steps": 0}, 16, low_biases),
    "jumprelu": (
        JUMPRELU
        | {"sparsity": 0.03, "sparsity_warmup_steps": 0}
        | {"l0_target": 6.0, "bandwidth": 0.5, "initial_threshold": 0.3},
        16,
        lambda sae: None,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DYING)
@pytest.mark.parametrize("revived", [True, False])
def test_latents_that_would_never_fire_live_by_the_auxiliary_loss(name, revived):
    vectors, _ = planted(8000, 32, 128, 6, 0.05)
    settings, aux_k, weaken = DYING[name]
    aux = {"aux_k": aux_k, "aux_coefficient": 1 / 32} if revived else {}
    rest = {"n_latents": 256, "aux_k": 0, "aux_coefficient": 0.0, "dead_after": 10_000}
    sae = build(settings | rest | aux)
    with torch.no_grad():
        weaken(sae)
    trainer = Trainer(sae, n_steps=400, mean=vectors.mean(0))
    order = np.random.default_rng(0)
    for _ in range(400):
        trainer.train(vectors[order.integers(0, 8000, 256)] - vectors.mean(0))
    n_dead = int(trainer.dead().sum())
    assert n_dead < 40 if revived else n_dead > 100


def trainer_of(settings=TOPK, n_steps=100, d=32, **changes):
    return Trainer(build(settings, d, **changes), n_steps=n_steps, mean=np.zeros(d))


@pytest.mark.parametrize("settings", [TOPK, RELU], ids=["topk", "relu"])
def test_a_long_gradient_is_shortened_and_a_short_one_left_alone(settings):
    vectors, _ = planted(64, 32, 128, 6, 0.05)
    loose, tight = (trainer_of(settings, clip_norm=limit) for limit in (1e6, 1e-3))
    given = []

    def recording(number, rate, scale):
        gradients = [p.grad.double().flatten() for p in trainer.sae.parameters()]
        given.append((torch.cat(gradients), float(scale)))

    for trainer in (loose, tight):
        trainer.adam.step = recording
        trainer.train(vectors)
    (gradient, one), (same, scale) = given
    assert torch.equal(gradient, same)
    norm = float(gradient.norm())
    assert float(loose.grad_norm) == float(tight.grad_norm) == pytest.approx(norm, rel=1e-5)
    assert one == 1.0
    assert scale == pytest.approx(1e-3 / norm)
    along = (trainer.sae.W_dec.grad * trainer.sae.W_dec).sum(dim=1)
    assert float(along.detach().abs().max()) < 1e-7


def test_clipping_changes_the_step_by_the_factor_alone():
    # Adam's first steps are of the same length for any gradient: the moments tell.
    vectors, _ = planted(64, 32, 128, 6, 0.05)
    free, tight = (trainer_of(clip_norm=limit) for limit in (None, 1e-3))
    for trainer in (free, tight):
        trainer.train(vectors)
    factor = 1e-3 / float(tight.grad_norm)
    assert factor < 0.5
    for name in ("W_enc", "W_dec", "b_dec"):
        full, short = (t.adam.moments[name][0] for t in (free, tight))
        torch.testing.assert_close(short, full * factor, rtol=1e-4, atol=1e-9)


def test_the_clipped_norm_does_not_depend_on_threads():
    generator = torch.Generator().manual_seed(0)
    sae = Sae(parsed(AnySaeSettings, TOPK | {"n_latents": 4112}), 208)
    gradients = [
        torch.empty_like(p).copy_(torch.randn(p.shape, generator=generator))
        for p in sae.parameters()
    ]
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        for p, g in zip(sae.parameters(), gradients, strict=True):
            p.grad = g.clone(memory_format=torch.preserve_format)
        found.append(clipping(sae, 1.0))
    torch.set_num_threads(1)
    for other in found[1:]:
        assert all(map(torch.equal, other, found[0]))


def test_which_latents_are_dead_is_looked_at_before_every_tenth_step(monkeypatch):
    vectors, _ = planted(64, 32, 128, 6, 0.05)
    trainer = trainer_of(dead_after=3 * 64, batch_size=64)
    given, exact = [], []
    original = trainer.sae.loss

    def recording(u, step, dead):
        given.append(None if dead is None else dead.clone())
        return original(u, step, dead)

    monkeypatch.setattr(trainer.sae, "loss", recording)
    for _ in range(25):
        exact.append(trainer.dead())
        trainer.train(vectors)
    assert int(exact[4].sum()) > 0
    assert given[:10] == [None] * 10
    for step in range(10, 25):
        assert torch.equal(given[step], exact[step // 10 * 10].nonzero().flatten())


def test_the_dead_of_the_last_look_are_part_of_the_state():
    vectors, _ = planted(64, 32, 128, 6, 0.05)
    first, second = trainer_of(dead_after=64), trainer_of(dead_after=64)
    for _ in range(13):
        first.train(vectors)
    first.silent.zero_()  # as if all had fired since
    second.restore({k: v.clone() for k, v in first.tensors().items()}, first.step)
    assert len(second.dead_latents)
    assert torch.equal(second.dead_now, first.dead_now)
    for trainer in (first, second):
        trainer.train(vectors)
    assert all(map(torch.equal, first.sae.parameters(), second.sae.parameters()))


def test_a_line_of_progress_has_everything_and_fits_a_terminal():
    progress = Progress(123_456_789, "vectors", "layer-11.patches")
    progress.done = 45_678_901
    line = {"loss": 0.001234, "nmse": 0.23456, "l0": 32.125, "dead": 12345}
    text = progress.line(progress.started + 3600, in_short(line))
    assert text == (
        "layer-11.patches: 37 % · 12,689 vectors/s, 1:42:10 left · "
        "loss 0.00123 nmse 0.235 L0 32.1 dead 12345"
    )
    assert len(text) <= 100
    assert "nmse" not in in_short(line | {"nmse": None})
    assert "37 % of 123,456,789 vectors" in progress.line(progress.started + 3600)
