"""Early stop: a function of the held-out figures so far, so that a resumed training needs nothing else."""

from collections.abc import Iterable


def is_spent(figures: Iterable[float | None], patience: int, min_improvement: float = 0.0) -> bool:
    """Whether the last ``patience`` evaluations brought no improvement on the best before them.

    Args:
        figures: held-out nmse of every evaluation so far, in order; null ones are passed over.
        patience: evaluations to wait for an improvement.
        min_improvement: share of the best by which a figure must be lower to count as one.
    """
    best, without = float("inf"), 0
    for figure in figures:
        if figure is None:
            continue
        if figure < best * (1 - min_improvement):
            best, without = figure, 0
        else:
            without += 1
    return without >= patience
