"""Places of latents by their decoder directions: a t-SNE (van der Maaten and Hinton 2008).

openTSNE computes it from exact neighbours by cosine and from the first two principal components,
with one thread and without random numbers. So equal directions give equal bytes.
"""

import base64
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from openTSNE import TSNE
from openTSNE.affinity import PerplexityBasedNN
from openTSNE.nearest_neighbors import PrecomputedNeighbors
from torch import Tensor

from saev.analyze.artifact import Analysis
from saev.analyze.neighbours import nearest
from saev.analyze.ordered import one_thread
from saev.core.errors import UserError
from saev.core.meta import read_meta
from saev.core.progress import Progress
from saev.sae.base import unit_rows
from saev.train import artifact as trained

if TYPE_CHECKING:  # Otherwise what is new on the page would project anew.
    from saev.dashboard.structures import Projection

PERPLEXITY = 30
"""About how many neighbours a latent should have near it."""
STEPS = (250, 500)
"""With exaggerated attraction, and without: openTSNE's own numbers."""
FEW = 5
"""Fewer directions have no neighbourhoods to keep: they stay at their principal components."""
REPORT_EVERY = 10


def places(analysis: Analysis, sae_folder: Path) -> "Projection":
    """The place of each latent that fires.

    Raises:
        UserError: the dictionary isn't the one that was analysed.
    """
    if analysis.meta["inputs"][trained.STAGE] != read_meta(sae_folder, trained.STAGE)[1]:
        raise UserError(
            f"{analysis.path} wasn't made from the dictionary in {sae_folder}: run the stage "
            f"analyze again"
        )
    live = analysis.latents()["image_count"] > 0
    directions = trained.load(sae_folder, torch.device("cpu")).W_dec.detach()
    found = np.full((len(live), 2), np.nan, "<f4")
    found[live] = project(directions[torch.from_numpy(live)])
    x, y = (base64.b64encode(found[:, axis].tobytes()).decode() for axis in range(2))
    return {"analysis": analysis.digest, "x": x, "y": y}


def project(directions: Tensor) -> np.ndarray:
    """Places of directions on a plane, (n, 2) float32 from −1 to 1.

    Args:
        directions: (n, d) float32 of any lengths, on the CPU.
    """
    n = len(directions)
    if n == 0:
        return np.empty((0, 2), np.float32)
    with one_thread():
        unit = unit_rows(directions).double()
        unit -= unit.mean(0)
        _, axes = torch.linalg.eigh(unit.T @ unit)
        axes = axes[:, -2:].flip(1)
        # The sign of an eigenvector is arbitrary: here its largest component is positive.
        largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
        found = (unit @ (axes * largest.sign())).numpy()
    if n >= FEW:
        near = nearest(directions, directions, 3 * PERPLEXITY, other=False)
        found = _spread(found, near.latent, 1 - near.cosine)
    return (found / max(np.abs(found).max(), np.finfo(np.float32).tiny)).astype(np.float32)


def _spread(start: np.ndarray, neighbours: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """The t-SNE of points that start at (n, 2), with k neighbours at (n, k) distances."""
    progress = Progress(sum(STEPS), "steps", "placing latents by their directions")
    known = PrecomputedNeighbors(neighbours, np.maximum(distances, 0).astype(np.float64))
    perplexity = min(PERPLEXITY, neighbours.shape[1] / 3)
    affinities = PerplexityBasedNN(perplexity=perplexity, knn_index=known, n_jobs=1)
    tsne = TSNE(
        early_exaggeration_iter=STEPS[0],
        n_iter=STEPS[1],
        n_jobs=1,
        random_state=0,
        callbacks=lambda *_: progress.update(REPORT_EVERY),
        callbacks_every_iters=REPORT_EVERY,
    )
    # openTSNE asks for a start that is so small.
    small = 1e-4 * start / max(start[:, 0].std(), np.finfo(np.float64).tiny)
    return np.asarray(tsne.fit(affinities=affinities, initialization=small))
