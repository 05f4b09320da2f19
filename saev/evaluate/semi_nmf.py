"""Semi-NMF: vectors as sums of directions that are only ever added.

With vectors in the rows of X (m, d), it minimises ‖X − ZD‖² over codes Z ≥ 0 (m, r) and directions
D (r, d) of any sign (Ding, Li and Jordan 2010, Convex and semi-nonnegative matrix factorizations,
IEEE TPAMI 32). In turn, Z is found for the present D by projected gradients with momentum (Beck and
Teboulle 2009, A fast iterative shrinkage-thresholding algorithm), and D is the solution of
ZᵀZ D = ZᵀX. It starts from centres of k-means, as in the paper. Only blocks of Z are in memory.

More directions than the vectors are wide would say nothing: d + 1 of them make every vector.
"""

from functools import cached_property

import torch
from torch import Tensor

from saev.core.progress import Progress
from saev.evaluate import kmeans
from saev.evaluate.row_blocks import over_blocks
from saev.sae.topk import TopK

ITERATIONS = 30
"""Steps to the codes of a vector."""
PASSES = 5
MOST_VECTORS = 1 << 14
"""Largest number of vectors to fit on. It bounds time."""
BLOCK = 1024
RIDGE = 1e-6
"""Keeps a direction that no vector uses where it is, as a share of the mean of ZᵀZ's diagonal."""


def codes(products: Tensor, gram: Tensor, largest: float) -> Tensor:
    """Codes Z ≥ 0 (b, r) of vectors X that make ‖X − ZD‖² small.

    Args:
        products: (b, r) X Dᵀ; gram: (r, r) D Dᵀ; largest: its largest eigenvalue.
    """
    z = torch.zeros_like(products)
    ahead, momentum = z, 1.0
    for _ in range(ITERATIONS):
        stepped = (ahead - (ahead @ gram - products) / largest).clamp_min_(0)
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = stepped + (momentum - 1) / following * (stepped - z)
        z, momentum = stepped, following
    return z


def steepest(gram: Tensor) -> float:
    """The largest eigenvalue of a Gram matrix (r, r); 1 if all directions are 0."""
    return float(torch.linalg.eigvalsh(gram.double().cpu())[-1]) or 1.0


def fit(vectors: Tensor, n: int, seed: int, device: torch.device) -> Tensor:
    """Directions D (n, d) float32 of ``vectors`` (m, d) float32, which lie around 0; m ≥ n.

    Args:
        n: how many, at most d; seed: of the start; device: where codes are computed.
    """
    directions = kmeans.fit(vectors, n, seed, device)
    progress = Progress(PASSES, "passes", f"factorising into {n:,} directions")
    for _ in range(PASSES):
        directions = improved(vectors, directions, device)
        progress.update(1)
    return directions


def improved(vectors: Tensor, directions: Tensor, device: torch.device) -> Tensor:
    """The directions (r, d) that suit the codes of ``vectors`` (m, d) for ``directions`` (r, d)."""
    to = directions.to(device)
    gram = to @ to.T
    largest = steepest(gram)
    r, d = directions.shape
    squares = torch.zeros(r, r, dtype=torch.float64)
    products = torch.zeros(r, d, dtype=torch.float64)

    def code(block: Tensor) -> tuple[Tensor, Tensor]:
        x = block.to(device)
        z = codes(x @ to.T, gram, largest).double()
        return (z.T @ z).cpu(), (z.T @ x.double()).cpu()

    for _, (one, two) in over_blocks(code, vectors, BLOCK, device.type):
        squares += one
        products += two
    ridge = RIDGE * max(float(squares.diagonal().mean()), torch.finfo(torch.float32).tiny)
    left = squares + ridge * torch.eye(r, dtype=torch.float64)
    return torch.linalg.solve(left, products + ridge * directions.double()).float()


class NonNegative(TopK):
    """A dictionary whose latents are the codes of a semi-NMF, of which the largest fire.

    The directions are the columns of ``W_enc``.
    """

    @cached_property
    def products(self) -> tuple[Tensor, float]:
        """Those of the directions with each other, and the largest eigenvalue."""
        gram = self.W_enc.T @ self.W_enc
        return gram, steepest(gram)

    def preactivations(self, x: Tensor) -> Tensor:
        """Codes (b, n) of raw activations (b, d)."""
        return codes((self.normalise(x) - self.b_dec) @ self.W_enc, *self.products)
