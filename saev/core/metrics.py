"""Metrics of reconstruction, each defined once and summed in float64.

Each metric is a function of `Sums`, which are additive over vectors. A sum of floats depends on how
its terms are grouped. So callers compute one `Sums` for each fixed block of the listing and add
them up in row order; then shards, jobs and batches can't change a byte.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

CHUNK = 256
"""Rows converted to float64 at a time. Bounds memory and fixes the grouping of sums."""


class Sums(NamedTuple):
    """Sums over vectors x, their reconstructions xh and latents z, relative to a fixed shift c.

    c is any vector near the mean. Subtracting it avoids cancellation in Σ‖x − x̄‖².
    """

    n: int
    """Number of vectors."""
    error: float
    """Σ‖x − xh‖²."""
    about_shift: float
    """Σ‖x − c‖²."""
    shifted: np.ndarray
    """Σ(x − c), (d,) float64."""
    reconstruction: float
    """Σ‖xh‖²."""
    inner: float
    """Σ⟨x, xh⟩."""
    cosine: float
    """Σ cos(x, xh); a vector of length 0 counts as 0."""
    l0: int
    """Σ #{j : z_j ≠ 0}."""
    l1: float
    """Σ Σ_j |z_j|."""

    def __add__(self, other: "Sums") -> "Sums":  # type: ignore[override]
        return Sums(*(a + b for a, b in zip(self, other, strict=True)))  # type: ignore[operator]


class StepSums(NamedTuple):
    """Those of `Sums` that the figures of a training step need."""

    n: int
    error: float
    about_shift: float
    l0: int

    def __add__(self, other: "StepSums") -> "StepSums":  # type: ignore[override]
        return StepSums(*(a + b for a, b in zip(self, other, strict=True)))  # type: ignore[arg-type]


def block_sums(
    x: np.ndarray, xh: np.ndarray, l0: np.ndarray, l1: np.ndarray, shift: np.ndarray
) -> Sums:
    """`Sums` of one block.

    Args:
        x: (b, d) activations, any float type.
        xh: (b, d) reconstructions in the same space.
        l0: (b,) number of nonzero latents of each vector.
        l1: (b,) sum of their absolute values.
        shift: (d,) the shift c, near the mean; the same for all blocks.
    """
    total = Sums(0, 0.0, 0.0, np.zeros(x.shape[1]), 0.0, 0.0, 0.0, 0, 0.0)
    shift = np.asarray(shift, np.float64)
    for start in range(0, len(x), CHUNK):
        here = slice(start, start + CHUNK)
        total += _chunk_sums(
            np.asarray(x[here], np.float64),
            np.asarray(xh[here], np.float64),
            np.asarray(l0[here], np.int64),
            np.asarray(l1[here], np.float64),
            shift,
        )
    return total


def _chunk_sums(
    x: np.ndarray, xh: np.ndarray, l0: np.ndarray, l1: np.ndarray, shift: np.ndarray
) -> Sums:
    centred, error = x - shift, x - xh
    squares_x, squares_xh, inner = row_dots(x, x), row_dots(xh, xh), row_dots(x, xh)
    lengths = np.sqrt(squares_x) * np.sqrt(squares_xh)
    cosine = np.divide(inner, lengths, out=np.zeros_like(inner), where=lengths > 0)
    return Sums(
        len(x),
        float(row_dots(error, error).sum()),
        float(row_dots(centred, centred).sum()),
        centred.sum(axis=0),
        float(squares_xh.sum()),
        float(inner.sum()),
        float(cosine.sum()),
        int(l0.sum()),
        float(l1.sum()),
    )


def row_dots(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Inner product of each row. Not with BLAS, whose sums depend on the number of threads."""
    return np.einsum("bd,bd->b", a, b, optimize=False)


def nmse(sums: Sums) -> float | None:
    """Σ‖x − xh‖² / Σ‖x − x̄‖², where x̄ is the mean of these vectors; None if all are equal.

    On vectors and reconstructions in raw space this is `nmse_raw`.
    """
    if not sums.n:
        return None
    centred = sums.about_shift - float(np.square(sums.shifted).sum()) / sums.n
    # A remainder of rounding isn't variance.
    return sums.error / centred if centred > 1e-12 * sums.about_shift else None


def nmse_about_shift(sums: Sums | StepSums) -> float | None:
    """Σ‖x − xh‖² / Σ‖x − c‖². With c the recorded mean, this is what training logs as nmse."""
    return sums.error / sums.about_shift if sums.about_shift else None


def explained_variance(sums: Sums) -> float | None:
    """1 − nmse."""
    value = nmse(sums)
    return None if value is None else 1 - value


def l0(sums: Sums | StepSums) -> float | None:
    """Mean number of nonzero latents of a vector."""
    return sums.l0 / sums.n if sums.n else None


def l1(sums: Sums) -> float | None:
    """Mean over vectors of Σ_j |z_j|."""
    return sums.l1 / sums.n if sums.n else None


def cosine(sums: Sums) -> float | None:
    """Mean over vectors of cos(x, xh)."""
    return sums.cosine / sums.n if sums.n else None


def relative_reconstruction_bias(sums: Sums) -> float | None:
    """Σ‖xh‖² / Σ⟨x, xh⟩. Below 1, reconstructions are too short. None if they are orthogonal."""
    return sums.reconstruction / sums.inner if sums.inner else None


FIGURES = {
    f.__name__: f for f in (nmse, explained_variance, l0, l1, cosine, relative_reconstruction_bias)
}


class ReconstructionMetrics:
    """Adds up `Sums` in one space (normalised or raw), block by block.

    Args:
        shift: (d,) the shift c of all blocks, near the mean, such as the recorded mean.
    """

    def __init__(self, shift: np.ndarray) -> None:
        self.shift = np.asarray(shift, np.float64)
        zeros = np.zeros(len(self.shift))
        self.sums = Sums(0, 0.0, 0.0, zeros, 0.0, 0.0, 0.0, 0, 0.0)

    def update(self, x: np.ndarray, xh: np.ndarray, l0: np.ndarray, l1: np.ndarray) -> Sums:
        """Add one block (see `block_sums`). Return its own sums, to store and merge later."""
        block = block_sums(x, xh, l0, l1, self.shift)
        self.sums += block
        return block

    def merge(self, blocks: Iterable[Sums]) -> None:
        """Add sums of blocks in the given order. Equals `update` on each block, bit by bit."""
        for block in blocks:
            self.sums += block

    def figures(self) -> dict[str, float | None]:
        """All metrics by name; None where one isn't defined (no vectors, no variance)."""
        return {name: figure(self.sums) for name, figure in FIGURES.items()}


def stack(blocks: Sequence[Sums], d: int) -> dict[str, np.ndarray]:
    """Stack the sums of m blocks into one array per field: (m,), and (m, d) for ``shifted``."""
    arrays = {}
    for name in Sums._fields:
        dtype = np.int64 if name in ("n", "l0") else np.float64
        values = np.array([getattr(block, name) for block in blocks], dtype)
        arrays[name] = values.reshape(len(blocks), d) if name == "shifted" else values
    return arrays


def unstack(arrays: Mapping[str, np.ndarray]) -> list[Sums]:
    """The inverse of `stack`."""
    blocks = []
    for i in range(len(arrays["n"])):
        values = {n: a[i] if n == "shifted" else a[i].item() for n, a in arrays.items()}
        blocks.append(Sums(**values))
    return blocks
