"""PCA of the same L0: what a linear basis makes of the same vectors with as many numbers."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from saev import metrics
from saev.analysis.inputs import Inputs
from saev.analysis.mapped import release
from saev.analysis.threads import one_thread
from saev.blocks import block_ranges

SAMPLE = 65_536
"""Most vectors to fit, and most of each split to evaluate."""
SEED = 0


def sample(
    inputs: Inputs, split: str, n_vectors: int, purpose: int, size: int = SAMPLE
) -> Iterator[torch.Tensor]:
    """Yield a seeded sample of a split's vectors, without repetition, in row order, block by block.

    Args:
        split: which split; n_vectors: how many vectors it has.
        purpose: another number gives another sample; size: most vectors to yield.

    Yields:
        (b, d) float64, in the SAE's space.
    """
    rng = np.random.default_rng([SEED, purpose])
    chosen = np.sort(rng.choice(n_vectors, min(n_vectors, size), replace=False))
    n_patches, seen = inputs.stream.n_patches, 0
    for start, stop in block_ranges(0, inputs.activations.n_images):
        rows, values = inputs.activations.read(inputs.stream, start, stop)
        mine = np.flatnonzero(inputs.splits(rows)[split])
        low, high = np.searchsorted(chosen, [seen, seen + len(mine) * n_patches])
        here = chosen[low:high] - seen
        seen += len(mine) * n_patches
        if not len(here):
            continue
        stored = values[mine[here // n_patches], here % n_patches]
        release(values)
        x = torch.from_numpy(inputs.activations.float32(stored)).to(inputs.sae.W_dec.device)
        yield inputs.sae.normalise(x).cpu().double()


class Pca(NamedTuple):
    """Mean and directions, largest variance first."""

    mean: torch.Tensor
    """(d,) float64."""
    directions: torch.Tensor
    """(d, d) float64, a column each."""
    n_fit: int
    """Vectors it was fitted on."""


def fit(vectors: Iterator[torch.Tensor], centre: torch.Tensor) -> Pca:
    """Principal components of ``vectors`` (b, d), read once; ``centre`` (d,) lies near their mean."""
    d = len(centre)
    total, products, n = torch.zeros(d).double(), torch.zeros(d, d).double(), 0
    for x in vectors:
        total += (x - centre).sum(0)
        products += (x - centre).T @ (x - centre)
        n += len(x)
    mean = total / n
    directions = torch.linalg.eigh(products / n - mean[:, None] * mean).eigenvectors.flip(1)
    return Pca(centre + mean, directions, n)


def evaluate(
    pca: Pca, vectors: Iterator[torch.Tensor], rank: int, scale: torch.Tensor
) -> dict[str, Any]:
    """`nmse` of keeping ``rank`` components, in the SAE's space and raw.

    Args:
        vectors: (b, d) float64 each; scale: (d,) float64, the SAE's norm_scale.
    """
    basis = pca.directions[:, :rank]
    inside = metrics.ReconstructionMetrics(pca.mean.numpy())
    raw = metrics.ReconstructionMetrics((pca.mean * scale).numpy())
    for x in vectors:
        reconstruction = (x - pca.mean) @ basis @ basis.T + pca.mean
        nothing = np.zeros(len(x))
        inside.update(x.numpy(), reconstruction.numpy(), nothing, nothing)
        raw.update((x * scale).numpy(), (reconstruction * scale).numpy(), nothing, nothing)
    return {
        "pca_nmse": metrics.nmse(inside.sums),
        "pca_nmse_raw": metrics.nmse(raw.sums),
        "pca_rank": rank,
        "pca_n_fit": pca.n_fit,
        "pca_n_eval": inside.sums.n,
    }


def pca_figures(
    inputs: Inputs, splits: dict[str, dict[str, Any] | None]
) -> dict[str, dict[str, Any]]:
    """The baseline of each split that isn't empty: figures by split.

    It is fitted on the training split, as the dictionary was. Of other images than those there are no
    training vectors here: then it is fitted on the images looked at, which favours it.

    Args:
        splits: figures of each split (`n_vectors`, `l0`), or None of an empty one.
    """
    here = {name: figures for name, figures in splits.items() if figures}
    fitted_on = "train" if "train" in here else next(iter(here))
    scale = inputs.sae.norm_scale.cpu().double()
    # Products in float64 differ in their last digits with the number of threads.
    with one_thread():
        vectors = sample(inputs, fitted_on, here[fitted_on]["n_vectors"], 0)
        pca = fit(vectors, inputs.centre().cpu().double())
        found = {}
        for purpose, (name, figures) in enumerate(here.items(), 1):
            rank = min(round(figures["l0"]), inputs.sae.d)
            vectors = sample(inputs, name, figures["n_vectors"], purpose)
            found[name] = evaluate(pca, vectors, rank, scale)
    return found
