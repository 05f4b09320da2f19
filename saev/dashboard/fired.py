"""Encodes chosen images once more, and tells where chosen latents fire on them."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch

from saev.activations.artifact import Activations, Stream
from saev.analyze.top import largest_patches
from saev.core.progress import Progress
from saev.sae import Sae

BATCH_BYTES = 128 << 20
"""Largest number of dense latents in one batch."""


class Reading(NamedTuple):
    """A dictionary and the activations that it reads."""

    sae: Sae
    activations: Activations
    stream: Stream


Each = Callable[[int, np.ndarray, np.ndarray, np.ndarray], None]
"""Is called with each image: its row, the latents that fire on it (m,) int64, ascending, their
largest activations (m,) float32, and the patches with these (m,) int64."""


def fired(
    source: Reading,
    rows: np.ndarray,
    doing: str,
    each: Each = lambda *_: None,
    others: np.ndarray | None = None,
) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """Tell where each latent fires on its images. Each image is encoded once.

    Args:
        source: the dictionary, and what it reads.
        rows: (n, k) int64 row ids of the images of each latent, −1 where absent.
        doing: what this is for, for the progress.
        each: called with each image.
        others: (m,) int64 row ids of images that ``each`` is called with too.

    Yields:
        latent, place in its ``rows``, patches (m,) int64 and activations (m,) float32, if m > 0.
    """
    sae, activations, stream = source
    latents, slots = np.nonzero(rows >= 0)
    order = np.argsort(rows[latents, slots], kind="stable")
    latents, slots = latents[order], slots[order]
    wanted_rows = rows[latents, slots]
    unique = np.unique(wanted_rows if others is None else np.append(wanted_rows, others))
    starts, ends = (np.searchsorted(wanted_rows, unique, side) for side in ("left", "right"))
    per_batch = max(1, BATCH_BYTES // (4 * stream.n_patches * sae.n_latents))
    progress = Progress(len(unique), "images", doing)
    device = sae.W_dec.device
    for first in range(0, len(unique), per_batch):
        batch = slice(first, min(first + per_batch, len(unique)))
        values = activations.float32(activations.take(stream, unique[batch]))
        x = torch.from_numpy(values).reshape(-1, stream.d).to(device)
        with torch.no_grad():
            vector, latent, value = (t.cpu().numpy() for t in sae.active(x))
        image, patch = np.divmod(vector, stream.n_patches)
        # One sorted key for (image, latent) matches what fires with where it is needed.
        key = image * sae.n_latents + latent
        by_key = np.argsort(key, kind="stable")
        key, patch, value = key[by_key], patch[by_key], value[by_key]
        pairs, largest, at = largest_patches(key, value, patch)
        for i in range(batch.stop - batch.start):
            one_image = slice(*np.searchsorted(pairs, [i * sae.n_latents, (i + 1) * sae.n_latents]))
            here = pairs[one_image] - i * sae.n_latents
            each(int(unique[first + i]), here, largest[one_image], at[one_image])
            wanted = slice(starts[first + i], ends[first + i])
            these = latents[wanted]
            low = np.searchsorted(key, i * sae.n_latents + these, "left")
            high = np.searchsorted(key, i * sae.n_latents + these, "right")
            for one, slot, a, b in zip(these, slots[wanted], low, high, strict=True):
                if a < b:
                    yield int(one), int(slot), patch[a:b], value[a:b]
        progress.update(batch.stop - batch.start)
