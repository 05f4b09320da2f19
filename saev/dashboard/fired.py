"""Tells where chosen latents fire on chosen images.

The codes are those that the analysis kept. Images without any are encoded again.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from saev.activations.artifact import Activations, Stream
from saev.analyze.accumulate import active
from saev.analyze.kept_codes import KeptCodes
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
    kept: KeptCodes
    """The codes of this dictionary and these activations, as far as they are kept."""


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
    """Tell where each latent fires on its images. Each image is read once.

    Args:
        source: the dictionary, and what it reads.
        rows: (n, k) int64 row ids of the images of each latent, −1 where absent.
        doing: what this is for, for the progress.
        each: called with each image.
        others: (m,) int64 row ids of images that ``each`` is called with too.

    Yields:
        latent, place in its ``rows``, patches (m,) int64 and activations (m,) float32, if m > 0.
    """
    latents, slots = np.nonzero(rows >= 0)
    order = np.argsort(rows[latents, slots], kind="stable")
    latents, slots = latents[order], slots[order]
    wanted_rows = rows[latents, slots]
    unique = np.unique(wanted_rows if others is None else np.append(wanted_rows, others))
    starts, ends = (np.searchsorted(wanted_rows, unique, side) for side in ("left", "right"))
    n_latents, n_patches = source.sae.n_latents, source.stream.n_patches
    progress = Progress(len(unique), "images", doing)
    for first, last, (vector, latent, value) in _codes(source, unique):
        image, patch = np.divmod(vector, n_patches)
        # One sorted key for (image, latent) matches what fires with where it is needed.
        key = image * n_latents + latent
        by_key = np.argsort(key, kind="stable")
        key, patch, value = key[by_key], patch[by_key], value[by_key]
        pairs, largest, at = largest_patches(key, value, patch)
        for i in range(last - first):
            one_image = slice(*np.searchsorted(pairs, [i * n_latents, (i + 1) * n_latents]))
            here = pairs[one_image] - i * n_latents
            each(int(unique[first + i]), here, largest[one_image], at[one_image])
            wanted = slice(starts[first + i], ends[first + i])
            these = latents[wanted]
            low = np.searchsorted(key, i * n_latents + these, "left")
            high = np.searchsorted(key, i * n_latents + these, "right")
            for one, slot, a, b in zip(these, slots[wanted], low, high, strict=True):
                if a < b:
                    yield int(one), int(slot), patch[a:b], value[a:b]
        progress.update(last - first)


def _codes(
    source: Reading, rows: np.ndarray
) -> Iterator[tuple[int, int, tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    """What fires on images ``rows`` (r,), ascending: a range of them at a time, and its codes as
    `PartCodes.take` gives them."""
    sae, activations, stream, kept = source
    dense = 4 * stream.n_patches * sae.n_latents
    parts = rows // kept.part_images
    for number in np.unique(parts).tolist():
        low, high = np.searchsorted(parts, [number, number + 1]).tolist()
        part = kept.part(number)
        each = part.images_at_once if part else max(1, BATCH_BYTES // dense)
        for first in range(low, high, each):
            last = min(first + each, high)
            here = rows[first:last]
            if part:
                yield first, last, part.take(here)
            else:
                values = activations.float32(activations.take(stream, here))
                yield first, last, active(sae, values.reshape(-1, stream.d))
