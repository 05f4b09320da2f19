"""Comparing arrays and tables, for all stages."""

import hashlib
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from saev.parity.verdict import Level, Verdict

EXAMPLES = 3
CANCELLED = 0.01
"""Numbers may also differ by this share of the tolerance, times the root mean square of all: so
much is left where large ones cancel."""
SAME_VALUES = 1e-6
"""Tolerance for statistics of the same values, which are sums in float64."""
LAST_DIGIT = 1e-3
"""Largest share of a number, or of 1, that its last written digit may be worth."""
NUMBER = re.compile(r"(?<![\w.])-?\d+\.?\d*(?:[eE][-+]?\d+)?(?![\w.])")


def relative(a: np.ndarray, b: np.ndarray) -> float:
    """‖a − b‖ / ‖a‖ over all finite numbers; infinite if others are at other places.

    Args:
        a, b: arrays of equal shape, numbers of any kind.
    """
    a, b = np.asarray(a, np.float64).ravel(), np.asarray(b, np.float64).ravel()
    finite = np.isfinite(a)
    if (finite != np.isfinite(b)).any() or (a[~finite].astype(str) != b[~finite].astype(str)).any():
        return float("inf")
    distance = float(np.linalg.norm(a[finite] - b[finite]))
    length = max(float(np.linalg.norm(a[finite])), float(np.linalg.norm(b[finite])))
    return distance / length if distance else 0.0


def near(a: np.ndarray, b: np.ndarray, tolerance: float) -> bool:
    """Whether each number is as good as that of the other array.

    A distance of norms alone would hide what changed in a small number beside large ones.

    Args:
        a, b: arrays of equal shape, numbers of any kind.
        tolerance: largest relative difference of two numbers.
    """
    if relative(a, b) == float("inf"):
        return False
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    finite = np.isfinite(a)
    a, b = a[finite], b[finite]
    typical = float(np.sqrt(np.square(a).mean())) if len(a) else 0.0
    allowed = tolerance * (np.maximum(np.abs(a), np.abs(b)) + CANCELLED * typical)
    return bool((np.abs(a - b) <= allowed).all())


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays have the same type, shape and bytes."""
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def arrays(
    a: dict[str, np.ndarray], b: dict[str, np.ndarray], *, tolerance: float, as_wholes: bool = False
) -> Verdict:
    """Compare arrays by name. Numbers that are no floats must be equal to count as rounding.

    Args:
        a, b: the arrays.
        tolerance: for each float, or with ``as_wholes`` for the norm of all of an array.
    """
    texts, level = [], Level.BIT_EQUAL
    for name in sorted(a.keys() | b.keys()):
        if name not in a or name not in b:
            texts.append(f"{name} is only in {'NEW' if name in b else 'OLD'}")
            level = Level.DIFFERENT
        elif a[name].shape != b[name].shape:
            texts.append(f"{name} has the shape {b[name].shape}, before {a[name].shape}")
            level = Level.DIFFERENT
        elif not same_bits(a[name], b[name]):
            far = relative(a[name], b[name])
            close = far <= tolerance if as_wholes else near(a[name], b[name], tolerance)
            close &= a[name].dtype == b[name].dtype and a[name].dtype.kind == "f"
            level = max(level, Level.ROUNDING if close else Level.DIFFERENT)
            texts.append(f"{name} differs by {far:.2g} of its norm")
    return Verdict(level, tuple(texts))


def moved(a: Sequence[Any], b: Sequence[Any], called: Callable[[int], str]) -> str | None:
    """Say from where on ``b`` holds the rows of ``a`` in another order; None if it doesn't.

    Args:
        a, b: what identifies each row.
        called: the name of a row.
    """
    if len(a) != len(b) or sorted(a) != sorted(b) or list(a) == list(b):
        return None
    places = [i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y]
    return (
        f"same rows in another order: {len(places):,} of {len(a):,} rows moved, from row "
        f"{called(places[0])} on"
    )


def row_digests(values: np.ndarray) -> list[bytes]:
    """A digest of each row of an array, whatever its shape."""
    return [hashlib.sha256(np.ascontiguousarray(row).tobytes()).digest() for row in values]


def tables(a: Any, b: Any, *, tolerance: float, key: str) -> Verdict:
    """Compare two tables of Arrow, column by column and row by row.

    Args:
        a, b: the tables.
        tolerance: for columns of floats.
        key: the column that names a row.
    """
    texts: list[str] = []
    if a.column_names != b.column_names:
        new = sorted(set(b.column_names) - set(a.column_names))
        gone = sorted(set(a.column_names) - set(b.column_names))
        texts += [f"columns {', '.join(new)} are new"] * bool(new)
        texts += [f"columns {', '.join(gone)} are gone"] * bool(gone)
        texts = texts or ["the columns have another order"]
    if len(a) != len(b):
        return Verdict(Level.DIFFERENT, (f"{len(b):,} rows, before {len(a):,}", *texts))
    level = Level.DIFFERENT if texts else Level.BIT_EQUAL
    names = a.column(key).to_pylist() if key in a.column_names else list(range(len(a)))
    for column in (name for name in a.column_names if name in b.column_names):
        if a.column(column).equals(b.column(column)):
            continue
        one, other = a.column(column).to_pylist(), b.column(column).to_pylist()
        if _are_near(one, other, tolerance):
            far = relative(_floats(one), _floats(other))
            level = max(level, Level.ROUNDING)
            texts.append(f"{column} differs by {far:.2g} of its norm")
            continue
        level = Level.DIFFERENT
        order = moved(list(map(str, one)), list(map(str, other)), lambda i: str(names[i]))
        at = [i for i, (x, y) in enumerate(zip(one, other, strict=True)) if x != y]
        shown = "; ".join(f"{names[i]}: {one[i]} → {other[i]}" for i in at[:EXAMPLES])
        texts.append(f"{column}: {order or f'{len(at):,} of {len(a):,} rows differ'} ({shown})")
    return Verdict(level, tuple(texts))


def texts(a: str, b: str, *, tolerance: float) -> Verdict:
    """Compare two texts. Numbers with a decimal point may differ by rounding: also by one in their
    last written digit, if that is `LAST_DIGIT` at most."""
    if a == b:
        return Verdict(Level.BIT_EQUAL)
    parts = [NUMBER.split(text) for text in (a, b)]
    numbers = [NUMBER.findall(text) for text in (a, b)]
    if parts[0] == parts[1]:
        pairs = [(x, y) for x, y in zip(*numbers, strict=True) if x != y]
        if all(_rounded(x, y, tolerance) for x, y in pairs):
            return Verdict(Level.ROUNDING, (f"{len(pairs):,} numbers differ by rounding",))
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), 0)
    start = max(0, at - 20)
    shown = (" ".join(text[start : at + 30].split()) for text in (a, b))
    return Verdict(Level.DIFFERENT, (" → ".join(shown),))


def _rounded(a: str, b: str, tolerance: float) -> bool:
    x, y = float(a), float(b)
    size = max(abs(x), abs(y))
    if abs(x - y) <= tolerance * size and not (_is_whole(a) and _is_whole(b)):
        return True
    # 0.4999 and 0.5 are one digit apart, and 3 and 4 are two counts.
    digit = min(float(f"1e{Decimal(text).as_tuple().exponent}") for text in (a, b))
    return digit < 1 and abs(x - y) <= 1.01 * min(digit, LAST_DIGIT * max(1.0, size))


def _is_whole(number: str) -> bool:
    return not any(c in number for c in ".eE")


def _are_near(a: list[Any], b: list[Any], tolerance: float) -> bool:
    """Whether two columns hold floats, and nulls at the same places, and the floats are near."""
    floats = all(value is None or isinstance(value, float) for value in (*a, *b))
    nulls = [[value is None for value in values] for values in (a, b)]
    return floats and nulls[0] == nulls[1] and near(_floats(a), _floats(b), tolerance)


def _floats(values: list[Any]) -> np.ndarray:
    return np.array([0.0 if value is None else value for value in values])
