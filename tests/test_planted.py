"""Each architecture finds a dictionary that was planted: 512 unit vectors, 4 of them active, and
noise."""

import numpy as np
import pytest
import torch

from saev import sae as saes
from saev.core.spec import parsed
from saev.settings.sae import AnySaeSettings
from saev.train.trainer import Trainer

D, N, ACTIVE, BATCH = 128, 512, 4, 256
EXAMPLES = 400_000
SLOW = {"relu": 600_000}
"""The others need fewer examples."""
AUX = {"aux_k": 64, "aux_coefficient": 1 / 32}
TRAINING = {
    "tokens": "pooled",
    "n_latents": N,
    "batch_size": BATCH,
    "epochs": 1.0,
    "lr": 0.003,
    "warmup_steps": 50,
    "dead_after": 20_000,
}
SELECTING = {"k": ACTIVE, **AUX}
SETTINGS = {
    "topk": SELECTING,
    "batchtopk": SELECTING,
    "matryoshka": {**SELECTING, "widths": [N // 4, N]},
    "jumprelu": {
        "sparsity": 0.003,
        "l0_target": ACTIVE,
        "bandwidth": 0.2,
        "initial_threshold": 0.1,
        **AUX,
    },
    "relu": {"l1": 0.001, **AUX},
    "archetypal": {**SELECTING, "n_points": 3 * N // 2},
}


class Planted:
    """Batches of vectors made of a known dictionary."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.directions = self.rng.standard_normal((N, D)).astype(np.float32)
        self.directions /= np.linalg.norm(self.directions, axis=1, keepdims=True)
        self.bias = self.rng.standard_normal(D).astype(np.float32)

    def batch(self, b: int = BATCH) -> np.ndarray:
        """(b, D) float32."""
        chosen = self.rng.integers(N, size=(b, ACTIVE))  # rarely one twice
        codes = 1 + self.rng.random((b, ACTIVE), dtype=np.float32)
        noise = 0.05 * self.rng.standard_normal((b, D), dtype=np.float32)
        return np.einsum("bk,bkd->bd", codes, self.directions[chosen]) + self.bias + noise


def recovery(name: str) -> float:
    """Mean over the planted directions of the best cosine of any decoder row."""
    torch.manual_seed(0)
    planted, examples = Planted(), SLOW.get(name, EXAMPLES)
    settings = parsed(AnySaeSettings, {**TRAINING, "architecture": name, **SETTINGS[name]})
    sae = saes.build(settings, D, torch.Generator().manual_seed(0))
    first = torch.from_numpy(planted.batch(16 * N))
    with torch.no_grad():
        sae.b_dec.copy_(first.mean(0))
    sae.start(lambda at_most, purpose: first[:at_most])
    mean = first.double().mean(0).numpy()
    trainer = Trainer(sae, n_steps=examples // BATCH, mean=mean)
    for _ in range(examples // BATCH):
        trainer.train(planted.batch())
    cosines = torch.from_numpy(planted.directions) @ sae.W_dec.detach().T
    return float(cosines.amax(dim=1).mean())


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_a_planted_dictionary_is_found(name):
    assert recovery(name) >= 0.95


if __name__ == "__main__":
    import sys
    import time

    for name in sys.argv[1:] or SETTINGS:
        start = time.time()
        print(name, round(recovery(name), 4), f"{time.time() - start:.0f} s", flush=True)
