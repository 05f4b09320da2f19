"""Small dictionaries of every architecture."""

import torch

from saev import sae as saes
from saev.core.spec import parsed
from saev.sae.base import unit_rows
from saev.settings.sae import SAE_SETTINGS, AnySaeSettings

D, N = 12, 40
TRAINING = {"tokens": "pooled", "n_latents": N, "batch_size": 8, "epochs": 1.0, "lr": 0.001}
AUX = {"aux_k": 6, "aux_coefficient": 0.5}
SETTINGS = {
    "topk": {**TRAINING, "architecture": "topk", "k": 5, **AUX},
    "relu": {**TRAINING, "architecture": "relu", "l1": 0.1, "l1_warmup_steps": 10},
}
SETTINGS |= {
    "batchtopk": {**SETTINGS["topk"], "architecture": "batchtopk"},
    "matryoshka": {**SETTINGS["topk"], "architecture": "matryoshka", "widths": [10, 25, N]},
    "matryoshka-topk": {
        **SETTINGS["topk"],
        "architecture": "matryoshka",
        "widths": [10, 25, N],
        "over": "topk",
    },
    "archetypal": {
        **SETTINGS["topk"],
        "architecture": "archetypal",
        "n_points": 30,
        "relaxation": 0.5,
    },
    "jumprelu": {
        **TRAINING,
        "architecture": "jumprelu",
        "sparsity": 0.1,
        "sparsity_warmup_steps": 10,
        "bandwidth": 2.0,
        "initial_threshold": 0.5,
        **AUX,
    },
    "relu-aux": {**SETTINGS["relu"], **AUX},
}
SELECTING = [name for name in SETTINGS if "relu" not in name]


def build(name, d=D, generator=None, **changes):
    """A dictionary as it starts; of the changes, those that its architecture knows."""
    given = SETTINGS[name]
    known = SAE_SETTINGS[given["architecture"]].model_fields.keys()
    given = given | {key: value for key, value in changes.items() if key in known}
    return saes.build(parsed(AnySaeSettings, given), d, generator)


def make(name, d=D, **changes):
    """A dictionary with no parameter at its initial value."""
    generator = torch.Generator().manual_seed(3)
    sae = build(name, d, generator, **changes)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        sae.norm_mean.normal_(generator=generator)
        sae.norm_scale.uniform_(0.5, 2, generator=generator)
        if "threshold" in dict(sae.named_buffers()):
            sae.threshold.fill_(0.7)
        if isinstance(sae.W_dec, torch.nn.Parameter):
            sae.W_dec.copy_(unit_rows(sae.W_dec))
    sae.finish_step()
    return sae


def vectors(b=32, d=D, seed=5):
    return torch.randn(b, d, generator=torch.Generator().manual_seed(seed)) * 2 + 1


def dense_topk(pre, k):
    values, latents = pre.topk(k, dim=1)
    return torch.zeros_like(pre).scatter(1, latents, values.relu())
