"""Steps of training: gradients, the rate, silence."""

import numpy as np
import pytest
import torch
from synthetic import planted
from trained import TOPK, read

from saev import sae as saes
from saev.training.trainer import Trainer


def test_no_step_spends_its_decoder_gradient_on_the_length_of_rows():
    vectors, _ = planted(64, 32, 128, 6, 0.05)
    sae = saes.build(TOPK, 32)
    settings = read(TOPK, lr=0.001, warmup_steps=0)
    trainer = Trainer(sae, settings, n_steps=10, mean=vectors.mean(0))
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
    read_settings = read(TOPK | settings, lr=0.001, warmup_steps=5, dead_after=10_000)
    trainer = Trainer(sae, read_settings, n_steps=400, mean=vectors.mean(0))
    order = np.random.default_rng(0)
    for _ in range(400):
        trainer.train(vectors[order.integers(0, 8000, 256)] - vectors.mean(0))
    assert (int(trainer.dead().sum()) < 40) == revived
