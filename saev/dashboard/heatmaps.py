"""Computes where a latent fires in its top images: its activation on every patch."""

from pathlib import Path

import numpy as np
import torch

from saev.activations.artifact import Activations, Stream
from saev.core.progress import Progress
from saev.sae import Sae

BATCH_BYTES = 128 << 20
"""Largest number of dense latents in one batch."""


def make_heatmaps(
    path: Path,
    sae: Sae,
    activations: Activations,
    stream: Stream,
    top_rows: np.ndarray,
    peak: np.ndarray,
) -> np.ndarray:
    """Compute the heat maps of all latents on their top images, image by image.

    Args:
        path: file for the result, which is mapped, not kept in memory.
        sae: the dictionary.
        activations, stream: what it reads.
        top_rows: (n, k) int64 row ids, −1 where absent.
        peak: (n,) float32, the largest activation of each latent, which becomes 255.

    Returns:
        (n, k, patches) uint8: 0 where the latent doesn't fire, at least 1 where it does.
    """
    n, k = top_rows.shape
    heat = np.lib.format.open_memmap(path, "w+", np.uint8, (n, k, stream.n_patches))
    latents, slots = np.nonzero(top_rows >= 0)
    order = np.argsort(top_rows[latents, slots], kind="stable")
    latents, slots = latents[order], slots[order]
    rows = top_rows[latents, slots]
    unique, starts = np.unique(rows, return_index=True)
    ends = np.append(starts[1:], len(rows))
    per_batch = max(1, BATCH_BYTES // (4 * stream.n_patches * sae.n_latents))
    progress = Progress(len(unique), "images", "drawing heat maps")
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
        for i in range(batch.stop - batch.start):
            wanted = slice(starts[first + i], ends[first + i])
            these = latents[wanted]
            low = np.searchsorted(key, i * sae.n_latents + these, "left")
            high = np.searchsorted(key, i * sae.n_latents + these, "right")
            for one, slot, a, b in zip(these, slots[wanted], low, high, strict=True):
                heat[one, slot, patch[a:b]] = as_bytes(value[a:b], peak[one])
        progress.update(batch.stop - batch.start)
    return heat


def as_bytes(value: np.ndarray, peak: np.float32 | float) -> np.ndarray:
    """Positive activations as parts of ``peak``, which is 255: uint8, at least 1."""
    return np.clip(np.ceil(255 * value / peak), 1, 255).astype(np.uint8)
