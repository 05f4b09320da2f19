"""Where in its top images a latent fires: its activation on every patch, for runs on patches."""

from pathlib import Path

import numpy as np
import torch

from saev.artifacts.activations import Activations, Stream
from saev.progress import Progress
from saev.sae import Sae

BATCH_BYTES = 128 << 20
"""Bound on the dense latents of one batch."""


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
        path: file for the result, which is mapped, not held in memory.
        sae: the dictionary.
        activations, stream: what it reads.
        top_rows: (n, k) int64 row ids, −1 where absent.
        peak: (n) float32, the largest activation of each latent: 255 stands for it.

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
        # One sorted key for (image, latent) brings together what fires and where it is wanted.
        key = image * sae.n_latents + latent
        by_key = np.argsort(key, kind="stable")
        key, patch, value = key[by_key], patch[by_key], value[by_key]
        for i in range(batch.stop - batch.start):
            wanted = slice(starts[first + i], ends[first + i])
            these = latents[wanted]
            low = np.searchsorted(key, i * sae.n_latents + these, "left")
            high = np.searchsorted(key, i * sae.n_latents + these, "right")
            for one, slot, a, b in zip(these, slots[wanted], low, high, strict=True):
                scaled = np.ceil(255 * value[a:b] / peak[one])
                heat[one, slot, patch[a:b]] = np.clip(scaled, 1, 255).astype(np.uint8)
        progress.update(batch.stop - batch.start)
    return heat
