"""TopK dictionaries of other libraries, if they are installed.

Each is trained on arrays, with the defaults of its own trainer: sparsify and overcomplete have no
auxiliary loss, SAELens has its own.
"""

import os
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


class Peer(NamedTuple):
    """A dictionary of another library."""

    name: str
    step: Callable[[np.ndarray], None]
    """Take a training step on (b, d) float32."""
    reconstruct: Callable[[Tensor], tuple[Tensor, Tensor]]
    """Map vectors (b, d) to reconstructions (b, d) and numbers of active latents (b,)."""


def installed(d: int, n: int, k: int, lr: float = 1e-4, device: str = "cpu") -> list[Peer]:
    """The peers that can be imported. On a GPU only sparsify, the fastest."""
    found = []
    for make in (sparsify, overcomplete, sae_lens) if device == "cpu" else (sparsify,):
        try:
            found.append(make(d, n, k, lr, device))
        except ImportError as error:
            print(f"not installed here: {make.__name__} ({error})")
    return found


def trained(peer: Peer, batches: Iterable[np.ndarray]) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Train a peer. Return its function that reconstructs."""
    for batch in batches:
        peer.step(batch)
    return peer.reconstruct


def _optimised(
    parameters: Any, lr: float, loss_of: Callable[[Tensor], Tensor], device: str
) -> Callable[[np.ndarray], None]:
    adam = torch.optim.Adam(parameters, lr=lr)

    def step(x: np.ndarray) -> None:
        adam.zero_grad()
        loss_of(torch.from_numpy(x).to(device)).backward()
        adam.step()

    return step


def sparsify(d: int, n: int, k: int, lr: float, device: str) -> Peer:
    """EleutherAI's sparsify: with its kernels on a GPU, with its eager decoder elsewhere."""
    from importlib.metadata import version

    if device == "cpu":
        os.environ["SPARSIFY_DISABLE_TRITON"] = "1"
    from sparsify import SparseCoder, SparseCoderConfig

    torch.manual_seed(0)
    sae = SparseCoder(d, SparseCoderConfig(num_latents=n, k=k, normalize_decoder=True)).to(device)
    plain = _optimised(sae.parameters(), lr, lambda x: sae(x).fvu, device)

    def step(x: np.ndarray) -> None:
        plain(x)
        sae.set_decoder_norm_to_unit_norm()

    def reconstruct(x: Tensor) -> tuple[Tensor, Tensor]:
        out = sae(x)
        return out.sae_out, (out.latent_acts > 0).sum(dim=1)

    kind = "eager" if device == "cpu" else "its kernels"
    return Peer(f"sparsify {version('eai-sparsify')} ({kind})", step, reconstruct)


def overcomplete(d: int, n: int, k: int, lr: float, device: str) -> Peer:
    """overcomplete's TopKSAE with a mean squared error."""
    from importlib.metadata import version

    from overcomplete.sae import TopKSAE

    torch.manual_seed(0)
    sae = TopKSAE(d, n, top_k=k, device=device)

    def loss_of(x: Tensor) -> Tensor:
        _, codes = sae.encode(x)
        return (sae.decode(codes) - x).square().mean()

    def reconstruct(x: Tensor) -> tuple[Tensor, Tensor]:
        _, codes = sae.encode(x)
        return sae.decode(codes), (codes != 0).sum(dim=1)

    step = _optimised(sae.parameters(), lr, loss_of, device)
    return Peer(f"overcomplete {version('overcomplete')}", step, reconstruct)


def sae_lens(d: int, n: int, k: int, lr: float, device: str) -> Peer:
    """SAELens' TopKTrainingSAE."""
    from importlib.metadata import version

    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.saes.sae import TrainStepInput

    torch.manual_seed(0)
    sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=d, d_sae=n, k=k, device=device))
    silent = torch.zeros(n)

    def loss_of(x: Tensor) -> Tensor:
        given = TrainStepInput(
            sae_in=x,
            coefficients={},
            dead_neuron_mask=silent >= 1000,  # steps, its default
            n_training_steps=0,
            is_logging_step=False,
        )
        out = sae.training_forward_pass(given)
        acts = out.feature_acts
        fired = (acts.to_dense() if acts.is_sparse else acts).any(dim=0)
        silent.add_(1)[fired] = 0
        return out.loss

    def reconstruct(x: Tensor) -> tuple[Tensor, Tensor]:
        codes = sae.encode(x)
        dense = codes.to_dense() if codes.is_sparse else codes
        return sae.decode(codes), (dense != 0).sum(dim=1)

    step = _optimised(sae.parameters(), lr, loss_of, device)
    return Peer(f"sae-lens {version('sae-lens')}", step, reconstruct)
