"""Near-twins: images that the tower sees alike, such as one photograph that was saved twice.

Each image has one vector. *Standardised*, it has mean 0 and standard deviation 1 in each dimension,
rounded to multiples of 1 / `STEPS`. Sums and products of such small integers are exact in any
order, so no library, thread or machine changes what is found.

A code of `BITS` bits tells on which side of fixed hyperplanes a vector lies (Charikar, "Similarity
estimation techniques from rounding algorithms", 2002). Codes are sorted in `ORDERS` ways, each of
which begins at another bit. In each, an image is compared with the `WINDOW` before it only, so the
work is proportional to the number of images. Pairs whose codes are near are compared by their
vectors.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

COSINE = 0.95
"""Standardised vectors of near-twins have at least this cosine; docs/measured.md says why."""
EQUAL = 1 - 1e-12
"""Cosine of equal vectors, in spite of rounding."""
STEPS = 64
LIMIT = 8 * STEPS
"""One outlying dimension shouldn't decide."""
BITS = 256
WORDS = BITS // 64
ORDERS = 16
WINDOW = 16
SEED = 5
SAMPLE = 2048
"""Images among which directions are counted."""
CHANCE = 0.01
"""Pairs of unlike images that may pass for near-twins by chance."""
PIECE = 1 << 20
"""Images that are compared with those before them at a time. Bounds memory."""
PAIRS = 4096
"""Pairs whose vectors are read at a time."""


class SoughtVectors(NamedTuple):
    """One vector per image, in which near-twins are sought."""

    pieces: Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]]
    """Gives row ids (r,) int64, ascending, and vectors (r, d) float32, piece by piece."""
    take: Callable[[np.ndarray], np.ndarray]
    """(m, d) float32, the vectors of row ids in ascending order; may contain duplicates."""
    mean: np.ndarray
    """(d,) float64."""
    std: np.ndarray
    """(d,) float64."""


class NearTwins(NamedTuple):
    """What was found."""

    pairs: np.ndarray
    """(m, 2) int64: the row of each image that resembles an earlier one, and the first row of its
    group."""
    cosine: float
    """What the vectors of a pair have at least."""
    n_directions: float
    """In how many directions vectors vary, as if all of these were equally important."""
    n_crowded: int
    """Images without a near-twin that resemble more images than they were compared with."""


def find_near_twins(vectors: SoughtVectors, left_out: np.ndarray) -> NearTwins:
    """Find images whose vectors are nearly equal.

    Args:
        vectors: those of all images.
        left_out: (k,) int64, ascending: rows not to compare.
    """
    rows, codes = _codes(vectors, left_out)
    cosine, n_directions = _threshold(vectors, rows)
    near = _near(cosine)
    groups = Groups(len(rows))
    crowded = np.zeros(len(rows), bool)
    for number in range(ORDERS):
        order = np.argsort(_key(codes, number), kind="stable")
        for one, other in _candidates(codes, order, near, crowded):
            new = groups.stands[one] != groups.stands[other]
            a, b = np.minimum(one, other)[new], np.maximum(one, other)[new]
            alike = _cosines(vectors, rows, a, b) >= cosine
            groups.join(a[alike], b[alike])
    stands = groups.stands
    later = np.flatnonzero(stands != np.arange(len(rows)))
    alone = np.bincount(stands, minlength=len(rows))[stands] == 1
    return NearTwins(
        np.stack([rows[later], rows[stands[later]]], axis=1),
        cosine,
        n_directions,
        int((crowded & alone).sum()),
    )


class Groups:
    """Groups of images. Each has the index of its first image, in ``stands``."""

    def __init__(self, n: int) -> None:
        self.stands = np.arange(n)

    def join(self, one: np.ndarray, other: np.ndarray) -> None:
        """Join the groups of each pair of images."""
        while len(one):
            first = np.minimum(self.stands[one], self.stands[other])
            for images in (one, other):
                np.minimum.at(self.stands, self.stands[images], first)
            while not np.array_equal(self.stands, self.stands[self.stands]):
                self.stands = self.stands[self.stands]
            apart = self.stands[one] != self.stands[other]
            one, other = one[apart], other[apart]


def standardised(vectors: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Standardise vectors, in steps. A dimension that doesn't vary becomes 0.

    Args:
        vectors: (r, d) float32.
        mean: (d,) float64.
        std: (d,) float64.

    Returns:
        (r, d) float32, integers from −`LIMIT` to `LIMIT`.
    """
    scale = np.divide(STEPS, std, out=np.zeros_like(std), where=std > 0)
    steps = (vectors - mean) * scale
    return np.clip(np.rint(steps), -LIMIT, LIMIT).astype(np.float32)


def _codes(vectors: SoughtVectors, left_out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row ids (n,) int64 and codes (n, `WORDS`) uint64 of the images to compare."""
    signs = np.random.default_rng(SEED).integers(0, 2, (len(vectors.mean), BITS))
    planes = (2 * signs - 1).astype(np.float32)
    all_rows, all_codes = [np.empty(0, np.int64)], [np.empty((0, WORDS), np.uint64)]
    for rows, values in vectors.pieces():
        sides = standardised(values, vectors.mean, vectors.std) @ planes > 0
        kept = ~np.isin(rows, left_out, assume_unique=True)
        codes = np.packbits(sides[kept], axis=1).view(">u8").astype(np.uint64)
        all_rows.append(rows[kept])
        all_codes.append(codes)
    return np.concatenate(all_rows), np.concatenate(all_codes)


def _threshold(vectors: SoughtVectors, rows: np.ndarray) -> tuple[float, float]:
    """The cosine of near-twins, and the number of directions in which vectors vary.

    The mean squared cosine of unlike vectors is 1 / m if they lie evenly in m directions. Then, two
    have a cosine over c with a probability under (1 − c²)^((m − 1) / 2) / 2. So the fewer
    directions and the more images there are, the nearer near-twins must be. An untrained tower has
    about 4 directions: its near-twins must be equal.
    """
    n = len(rows)
    if n < 2:
        return COSINE, 1.0
    chosen = rows[np.unique(np.linspace(0, n - 1, min(n, SAMPLE)).astype(np.int64))]
    values = standardised(vectors.take(chosen), vectors.mean, vectors.std).astype(np.float64)
    norms = np.sqrt(np.maximum(1, np.square(values).sum(axis=1)))
    cosines = (values @ values.T) / norms / norms[:, None]
    unlike = cosines[np.triu(cosines < COSINE, 1)]
    mean = float(np.square(unlike).mean()) if len(unlike) else 1.0
    n_directions = 1 / max(mean, 1 / len(vectors.mean))
    slack = (4 * CHANCE / n**2) ** (2 / max(n_directions - 1, 1e-9))
    return max(COSINE, min(math.sqrt(1 - slack), EQUAL)), n_directions


def _near(cosine: float) -> int:
    """Bits in which the codes of near-twins may differ: what is expected, and three standard
    deviations."""
    share = math.acos(min(1, cosine)) / math.pi
    return math.ceil(BITS * share + 3 * math.sqrt(BITS * share * (1 - share)))


def _key(codes: np.ndarray, number: int) -> np.ndarray:
    """64 bits of each code, from which an order sorts."""
    word, half = divmod(number * (BITS // ORDERS), 64)
    if not half:
        return codes[:, word]
    after = codes[:, (word + 1) % WORDS]
    return (codes[:, word] << np.uint64(half)) | (after >> np.uint64(64 - half))


def _candidates(
    codes: np.ndarray, order: np.ndarray, near: int, crowded: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pair each image with the nearest of the `WINDOW` before it, if that is near.

    Marks images in ``crowded`` that have only near ones before them.
    """
    for start in range(1, len(order), PIECE):
        first = max(0, start - WINDOW)
        here = codes[order[first : start + PIECE]]
        n = len(here) - (start - first)
        best, shift = np.full(n, near + 1), np.ones(n, np.int64)
        fewest = np.zeros(n, np.int64)
        for back in range(1, WINDOW + 1):
            skipped = max(0, back - (start - first))
            if skipped >= n:
                break
            one = here[start - first + skipped :]
            other = here[start - first + skipped - back : len(here) - back]
            apart = np.bitwise_count(one ^ other).sum(axis=1, dtype=np.int64)
            fewest[skipped:] += apart <= near
            nearer = np.flatnonzero(apart < best[skipped:]) + skipped
            best[nearer], shift[nearer] = apart[nearer - skipped], back
        crowded[order[start : start + n][fewest == WINDOW]] = True
        found = np.flatnonzero(best <= near) + start
        for at in range(0, len(found), PIECE):
            yield order[found[at : at + PIECE]], order[(found - shift[found - start])[at:][:PIECE]]


def _cosines(
    vectors: SoughtVectors, rows: np.ndarray, one: np.ndarray, other: np.ndarray
) -> np.ndarray:
    """(p,) float64, of pairs of indices into ``rows``."""
    found = np.empty(len(one))
    by_place = np.argsort(one, kind="stable")
    for start in range(0, len(one), PAIRS):
        pairs = by_place[start : start + PAIRS]
        needed, where = np.unique(np.concatenate([one[pairs], other[pairs]]), return_inverse=True)
        values = standardised(vectors.take(rows[needed]), vectors.mean, vectors.std)
        a, b = values[where].astype(np.float64).reshape(2, len(pairs), -1)
        squares = np.square(a).sum(axis=1), np.square(b).sum(axis=1)
        cosines = (a * b).sum(axis=1) / np.sqrt(np.maximum(1, squares[0] * squares[1]))
        # Vectors without a direction are as good as the mean, and so as good as equal.
        found[pairs] = np.where(squares[0] + squares[1] == 0, 1.0, cosines)
    return found
