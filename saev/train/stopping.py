"""Early stop.

It depends only on the held-out figures so far, so a resumed training needs no more.
"""

from collections.abc import Iterable


def is_spent(figures: Iterable[float | None], patience: int, min_improvement: float = 0.0) -> bool:
    """Whether the last ``patience`` evaluations didn't improve on the best one before them.

    Args:
        figures: held-out nmse of every evaluation so far, in order. Null ones are skipped.
        patience: how many evaluations to wait for an improvement.
        min_improvement: an improvement must lower the best figure by more than this share of it.
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
