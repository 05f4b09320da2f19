"""Whether a name fits its latent: on held-out images, the true name is ranked among five.

For an image on which the latent fires, the tower's text tower embeds its name and four others of
the same dictionary, drawn with a seed. With unit embeddings e of what lies around the latent's
strongest patch, and t of the five names, each less its mean (ē over all images judged, t̄ over all
names), the name is right if its cosine is the largest::

    right(i) = [cos(e_i − ē, t_true − t̄) > cos(e_i − ē, t_other − t̄) for all four others]

A name's score is the share of images where it is right; chance is 1 / 5. Without the means, nearly
all cosines are alike, as images and texts lie in two narrow cones (Liang et al. 2022, Mind the gap,
NeurIPS 35).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from saev.activations.twins import first_of
from saev.analyze.accumulate import batch_vectors
from saev.analyze.inputs import Inputs
from saev.analyze.lift import wilson_low
from saev.analyze.names_file import FEWEST_NAMES
from saev.evaluate.features import Chunk, over
from saev.evaluate.firing import active

FEWEST = 5
"""A name with fewer held-out firing images has no score."""
MOST = 16
"""Held-out firing images that judge a name, drawn with a seed if there are more."""
MOST_ROWS = 65_536
"""Held-out images that are looked at. It bounds memory."""


class Sightings(NamedTuple):
    """Images on which latents fire, sorted by latent and row."""

    latent: np.ndarray
    """(m,) int64."""
    row: np.ndarray
    """(m,) int64."""
    patch: np.ndarray
    """(m,) int64, the strongest patch; −1 for a stream without patches."""


def judging_rows(inputs: Inputs, seed: int) -> np.ndarray:
    """Images that the training never saw, ascending; a sample of them if there are many."""
    rows = inputs.activations.rows(0, inputs.activations.n_images)
    splits = inputs.splits(rows)
    unseen: np.ndarray = rows[splits.get("held_out", splits.get("other"))]
    if len(unseen) > MOST_ROWS:
        rng = np.random.default_rng([seed, 0])
        unseen = np.sort(rng.choice(unseen, MOST_ROWS, replace=False, shuffle=False))
    return unseen


def sightings(
    inputs: Inputs, latents: np.ndarray, rows: np.ndarray, shown: np.ndarray, seed: int
) -> Sightings:
    """At most `MOST` of the images ``rows`` (r,) on which each of ``latents`` (l,) fires.

    Args:
        shown: (l, k) int64, images that whoever named the latents has seen; −1 for none. They and
            their copies are left out.
        seed: of the draw.
    """
    n_patches, twins = inputs.stream.n_patches, inputs.activations.twins

    def look(chunk: Chunk) -> np.ndarray:
        size = batch_vectors(inputs.sae.n_latents, inputs.sae.W_dec.device)
        held = []
        for start in range(0, len(chunk.vectors), size):
            vector, latent, value = active(inputs.sae, chunk.vectors[start : start + size])
            wanted = np.isin(latent, latents)
            held.append((start + vector[wanted], latent[wanted], value[wanted]))
        vector, latent, value = (np.concatenate(part) for part in zip(*held, strict=True))
        image, patch = np.divmod(vector, n_patches)
        # The largest value first; of equal ones, the first patch.
        order = np.lexsort((patch, -value, image, latent))
        latent, image, patch = latent[order], image[order], patch[order]
        new = np.ones(len(order), bool)
        new[1:] = (latent[1:] != latent[:-1]) | (image[1:] != image[:-1])
        return np.stack([latent, rows[chunk.first + image], patch])[:, new]

    found = np.concatenate([np.empty((3, 0), np.int64), *over(inputs, rows, look, "encoding")], 1)
    found = found[:, np.argsort(found[0], kind="stable")]  # images are in order already
    kept = []
    for latent, seen in zip(latents.tolist(), shown, strict=True):
        at = np.arange(*np.searchsorted(found[0], (latent, latent + 1)))
        at = at[~np.isin(first_of(found[1, at], twins), first_of(seen[seen >= 0], twins))]
        if len(at) > MOST:
            rng = np.random.default_rng([seed, 1, latent])
            at = np.sort(rng.choice(at, MOST, replace=False, shuffle=False))
        kept.append(at)
    latent, row, patch = found[:, np.concatenate(kept)]
    return Sightings(latent, row, patch if inputs.stream.kind == "patches" else 0 * patch - 1)


def candidates(texts: Sequence[str], true: int, latent: int, row: int, seed: int) -> np.ndarray:
    """Numbers of five of ``texts``, the true one first, which all differ: (5,) int64."""
    others = np.delete(np.arange(len(texts)), true)
    rng = np.random.default_rng([seed, 2, latent, row])
    drawn = rng.choice(others, FEWEST_NAMES - 1, replace=False)
    return np.concatenate([[true], drawn])


def is_first(images: Tensor, texts: Tensor, asked: np.ndarray) -> np.ndarray:
    """Whether the first candidate is nearest: (m,) bool. A tie isn't.

    Args:
        images: (m, e), texts: (t, e), both centred unit vectors; asked: (m, 5) numbers of texts.
    """
    found = texts[torch.from_numpy(asked)].double()
    cosines = torch.einsum("me,mce->mc", images.double(), found)
    first: np.ndarray = (cosines[:, :1] > cosines[:, 1:]).all(1).numpy()
    return first


def score(right: np.ndarray) -> dict[str, Any]:
    """The score of one name, as in `names.json`: ``right`` (n,) bool."""
    n, hits = len(right), int(right.sum())
    if n < FEWEST:
        return {"n": n, "hits": None, "interval": None}
    ends = (float(wilson_low(np.array([k]), np.array([n]))[0]) for k in (hits, n - hits))
    low, missed = ends
    return {"n": n, "hits": hits, "interval": [low, 1 - missed]}
