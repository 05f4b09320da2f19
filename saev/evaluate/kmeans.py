"""k-means: what a dictionary is compared with that only knows which vectors lie together.

Lloyd's algorithm (Lloyd 1982, Least squares quantization in PCM), from distinct vectors that are
drawn at random: every vector belongs to its nearest centre, and every centre moves to the mean of
its vectors. Neither step makes the sum of squared distances larger.

It is written out, as scikit-learn isn't needed to run the workflow, its last digits depend on the
number of threads, and it knows no GPU.
"""

import numpy as np
import torch
from torch import Tensor

from saev.core.progress import Progress
from saev.evaluate.row_blocks import over_blocks

PASSES = 10
FEWEST = 4
"""Vectors for each centre. If there are fewer, there are fewer centres."""
BLOCK = 1024
"""Vectors whose distances to all centres are in memory at once."""


def n_centres(n: int, n_vectors: int) -> int:
    """How many centres ``n_vectors`` allow, at most ``n``."""
    return max(1, min(n, n_vectors // FEWEST))


def fit(vectors: Tensor, n: int, seed: int, device: torch.device) -> Tensor:
    """Centres (n, d) float32 of ``vectors`` (m, d) float32, m ≥ n.

    Args:
        seed: of the vectors to start from; device: where distances are computed.
    """
    drawn = np.random.default_rng([seed, n]).choice(len(vectors), n, replace=False, shuffle=False)
    centres = vectors[torch.from_numpy(np.sort(drawn))].clone()
    progress = Progress(PASSES, "passes", f"finding {n:,} centres")
    before = None
    for _ in range(PASSES):
        owner = nearest_centre(vectors, centres, device)
        if before is not None and bool((owner == before).all()):
            break
        before = owner
        sums = torch.zeros(n, vectors.shape[1], dtype=torch.float64)
        for start in range(0, len(vectors), BLOCK):
            here = slice(start, start + BLOCK)
            sums.index_add_(0, owner[here], vectors[here].double())
        sizes = torch.bincount(owner, minlength=n)
        kept = sizes > 0
        centres[kept] = (sums[kept] / sizes[kept, None]).float()
        progress.update(1)
    return centres


def nearest_centre(vectors: Tensor, centres: Tensor, device: torch.device) -> Tensor:
    """The nearest centre of each vector: (m,) int64; the first of equally near ones."""
    to = centres.to(device)
    half = to.square().sum(1) / 2

    def nearest(block: Tensor) -> Tensor:
        return (block.to(device) @ to.T - half).argmax(1).cpu()

    return torch.cat([found for _, found in over_blocks(nearest, vectors, BLOCK, device.type)])
