"""What latents are compared with on masks: others that read the same vectors, equally sparse.

Of each, as many latents fire on a patch as latents of the dictionary do, the largest ones:

- ``untrained_dictionary``: random directions, as many as the dictionary has latents;
- ``pca``: both directions of each principal component;
- ``k_means``: a latent for each centre c, with the value (‖x − μ‖² − ‖x − c‖²) / 2, which says how
  much nearer the vector x lies to c than to the mean μ;
- ``semi_nmf``: a latent for each direction, with its code.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from saev.analyze.baseline import Pca
from saev.evaluate import kmeans, semi_nmf
from saev.evaluate.untrained import UNTRAINED, of_directions, untrained
from saev.sae import Sae

MOST_CENTRES = 1 << 14
"""Largest number of centres. It bounds time."""


class Others(NamedTuple):
    """Dictionaries to compare with."""

    saes: dict[str, Sae]
    """By name."""
    note: str
    """Which of them have fewer latents, and why."""


def others(sae: Sae, pca: Pca, vectors: Tensor, l0: float, seed: int) -> Others:
    """Make them.

    Args:
        sae: the dictionary.
        pca: principal components of what it was trained on, in its space.
        vectors: (m, d) float32, a sample of the same, in row order.
        l0: mean number of latents that fire on a vector.
        seed: of everything that is drawn.
    """
    n, d, device = sae.n_latents, sae.d, sae.W_dec.device
    mean, axes = pca.mean.float(), pca.directions.T.float()
    n_centres = kmeans.n_centres(min(n, MOST_CENTRES), len(vectors))
    some = vectors[:: -(-len(vectors) // semi_nmf.MOST_VECTORS)] - mean
    n_directions = min(n, d, len(some))
    centres = kmeans.fit(vectors, n_centres, seed, device)
    directions = semi_nmf.fit(some, n_directions, seed, device)
    saes = {
        UNTRAINED: untrained(sae, l0, seed),
        "pca": of_directions(sae, torch.cat([axes, -axes]), mean, l0),
        "k_means": _of_centres(sae, centres, mean, l0),
        "semi_nmf": of_directions(sae, directions, mean, l0, semi_nmf.NonNegative),
    }
    notes = []
    if n_centres < n:
        few = n_centres < MOST_CENTRES
        why = f"{kmeans.FEWEST} vectors belong to each" if few else "more would take too long"
        notes.append(f"k-means has {n_centres:,} centres, not {n:,}: {why}")
    if n_directions < n:
        why = "more than the width says nothing" if n_directions == d else "there are few vectors"
        notes.append(f"semi-NMF has {n_directions:,} directions, not {n:,}: {why}")
    return Others(saes, "; ".join(notes))


def _of_centres(sae: Sae, centres: Tensor, mean: Tensor, l0: float) -> Sae:
    rows = centres - mean
    made = of_directions(sae, rows, mean, l0)
    with torch.no_grad():
        made.b_enc.copy_(-rows.square().sum(1) / 2)
    return made
