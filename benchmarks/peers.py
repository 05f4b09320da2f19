"""Training steps of other libraries, for those that are installed in the benchmark's environment."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

Step = Callable[[np.ndarray], object]


def steps(d: int, n: int, k: int) -> dict[str, Step]:
    """A TopK training step of each peer that can be imported, by name and version."""
    found: dict[str, Step] = {}
    for make in (sparsify, overcomplete, sae_lens):
        try:
            name, step = make(d, n, k)
        except ImportError as error:
            print(f"not installed here: {make.__name__} ({error})")
            continue
        found[name] = step
    return found


def _optimised(parameters: Any, loss_of: Callable[[torch.Tensor], torch.Tensor]) -> Step:
    adam = torch.optim.Adam(parameters, lr=1e-4)

    def step(x: np.ndarray) -> None:
        adam.zero_grad()
        loss_of(torch.from_numpy(x)).backward()
        adam.step()

    return step


def sparsify(d: int, n: int, k: int) -> tuple[str, Step]:
    """EleutherAI's sparsify with its eager decoder (its kernels need a GPU)."""
    import os
    from importlib.metadata import version

    os.environ["SPARSIFY_DISABLE_TRITON"] = "1"
    from sparsify import SparseCoder, SparseCoderConfig

    sae = SparseCoder(d, SparseCoderConfig(num_latents=n, k=k, normalize_decoder=True))
    plain = _optimised(sae.parameters(), lambda x: sae(x).fvu)

    def step(x: np.ndarray) -> None:
        plain(x)
        sae.set_decoder_norm_to_unit_norm()

    return f"sparsify {version('eai-sparsify')} (eager)", step


def overcomplete(d: int, n: int, k: int) -> tuple[str, Step]:
    """overcomplete's TopKSAE with a mean squared error."""
    from importlib.metadata import version

    from overcomplete.sae import TopKSAE

    sae = TopKSAE(d, n, top_k=k, device="cpu")

    def loss_of(x: torch.Tensor) -> torch.Tensor:
        _, codes = sae.encode(x)
        return (sae.decode(codes) - x).square().mean()

    return f"overcomplete {version('overcomplete')}", _optimised(sae.parameters(), loss_of)


def sae_lens(d: int, n: int, k: int) -> tuple[str, Step]:
    """SAELens' TopKTrainingSAE."""
    from importlib.metadata import version

    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.saes.sae import TrainStepInput

    sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=d, d_sae=n, k=k, device="cpu"))
    dead = torch.zeros(n, dtype=torch.bool)

    def loss_of(x: torch.Tensor) -> torch.Tensor:
        given = TrainStepInput(
            sae_in=x,
            coefficients={},
            dead_neuron_mask=dead,
            n_training_steps=0,
            is_logging_step=False,
        )
        return sae.training_forward_pass(given).loss

    return f"sae-lens {version('sae-lens')}", _optimised(sae.parameters(), loss_of)
