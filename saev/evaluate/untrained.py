"""A baseline for everything that is said of latents: a dictionary that learnt nothing.

Its latents are random directions. As many of them fire on a vector as latents of the dictionary do
on average, the largest ones, and it normalises vectors as the dictionary does.
"""

import torch
from torch import Tensor

from saev.analyze.neighbours import random_rows
from saev.sae import Sae
from saev.sae.base import unit_rows
from saev.sae.topk import TopK
from saev.settings.sae import TopKSettings

UNTRAINED = "untrained_dictionary"
DRAW = 3
"""Which of the seed's random directions these are."""


def untrained(sae: Sae, l0: float, seed: int) -> Sae:
    """A dictionary of random directions, as wide and as sparse as ``sae``.

    Args:
        l0: mean number of latents of ``sae`` that fire on a vector.
        seed: of the directions.
    """
    rows = random_rows(sae.n_latents, sae.d, seed, DRAW)
    return of_directions(sae, rows, sae.b_dec, l0)


def of_directions(
    sae: Sae, rows: Tensor, centre: Tensor, l0: float, kind: type[TopK] = TopK
) -> TopK:
    """A dictionary whose latents are given directions, of which the largest fire.

    Args:
        sae: the dictionary whose normalisation and sparsity it has.
        rows: (n, d), what latents read, in the space of ``sae``; centre: (d,), where they start.
        l0: mean number of latents of ``sae`` that fire on a vector.
        kind: how latents come from the directions.
    """
    n = len(rows)
    settings = TopKSettings(
        architecture="topk",
        layer=sae.settings.layer,
        tokens=sae.settings.tokens,
        n_latents=n,
        k=min(max(1, round(l0)), n),
        # Required, but nothing is trained here; a dictionary from elsewhere doesn't know its own.
        batch_size=1,
        epochs=1.0,
        lr=1.0,
    )
    made = kind(settings, sae.d).requires_grad_(False).eval()
    with torch.no_grad():
        made.W_dec.copy_(unit_rows(rows))
        made.W_enc.copy_(rows.T)
        made.b_dec.copy_(centre)
        made.norm_mean.copy_(sae.norm_mean)
        made.norm_scale.copy_(sae.norm_scale)
    made.stream = sae.stream
    return made.to(sae.W_dec.device)
