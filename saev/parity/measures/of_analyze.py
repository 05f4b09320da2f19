"""Compares analyses: lists of top images, frequencies, labels."""

import numpy as np

from saev.analyze.artifact import LATENTS, TABLE
from saev.parity.lab import Made
from saev.parity.measures import distances
from saev.parity.verdict import Level, Verdict, worst
from saev.settings.parity import ParitySettings


def compare_analyze(a: Made, b: Made, settings: ParitySettings) -> Verdict:
    """Compare two analyses. Top images whose activations tie within rounding may swap."""
    import pyarrow.parquet as pq
    from safetensors.numpy import load_file

    old, new = (load_file(made.folder / LATENTS) for made in (a, b))
    found = distances.arrays(old, new, tolerance=settings.rounding)
    table = distances.tables(
        *(pq.read_table(made.folder / TABLE) for made in (a, b)),
        tolerance=settings.rounding,
        key="latent",
    )
    both = worst([found, table])
    if both.level <= Level.ROUNDING or old["top_rows"].shape != new["top_rows"].shape:
        return both
    changed, overlap = top_lists(old["top_rows"], new["top_rows"])
    figures = {
        "top_lists_changed": int(changed.sum()),
        "latents": len(changed),
        "top_overlap": overlap,
        "frequency_rank_correlation": rank_correlation(old["fire_count"], new["fire_count"]),
    }
    texts = []
    if changed.any():
        texts.append(
            f"{int(changed.sum()):,} of {len(changed):,} lists of top images differ (mean overlap "
            f"{overlap:.2f})"
        )
    n = int((old["fire_count"] != new["fire_count"]).sum())
    if n:
        texts.append(
            f"{n:,} of {len(changed):,} latents fire on another number of vectors (rank "
            f"correlation {figures['frequency_rank_correlation']:.3f})"
        )
    metrics = _reconstruction(a, b)
    return Verdict(both.level, (*texts, *metrics, *both.texts), figures)


def top_lists(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, float]:
    """Which lists of top images differ, as sets or in order, and the mean overlap of all.

    Args:
        a, b: (n, k) rows of the top images of each latent; -1 where a latent has fewer.

    Returns:
        (n,) bool; the mean over latents of |A ∩ B| / |A ∪ B|, 1 for two empty lists.
    """
    changed = (a != b).any(axis=1)
    shares = []
    for one, other in zip(a[changed], b[changed], strict=True):
        x, y = set(one[one >= 0].tolist()), set(other[other >= 0].tolist())
        shares.append(len(x & y) / len(x | y) if x | y else 1.0)
    return changed, (float(np.sum(shares)) + int((~changed).sum())) / max(1, len(a))


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's correlation of two (n,) arrays; 1 if both are constant."""
    ranks = [_ranks(values) for values in (a, b)]
    x, y = (r - r.mean() for r in ranks)
    length = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / length if length else 1.0


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0; ties share their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + last - 1) / 2)[inverse]


def _reconstruction(a: Made, b: Made) -> list[str]:
    old, new = (made.described["summary"].get("all", {}) for made in (a, b))
    names = [k for k, v in old.items() if isinstance(v, (int, float)) and new.get(k) != v]
    return (
        ["; ".join(f"{k} {old[k]:.5g} → {new[k]:.5g}" for k in names if k in new)] if names else []
    )
