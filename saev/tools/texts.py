"""Sizes and tables for people."""

from collections.abc import Container

UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def size(n: int) -> str:
    """Return ``n`` bytes as a short text: ``12 B``, ``3.4 MB``, ``120 GB``."""
    number, unit = float(n), 0
    while number >= 999.5 and unit < len(UNITS) - 1:
        number, unit = number / 1000, unit + 1
    return (
        f"{number:.0f} {UNITS[unit]}"
        if unit == 0 or number >= 99.95
        else f"{number:.1f} {UNITS[unit]}"
    )


def count(n: int, noun: str) -> str:
    """Return ``1 run`` or ``2 runs``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def shortened(text: str, width: int) -> str:
    """Shorten ``text`` to at most ``width`` characters. Keeps its end, which has the digest."""
    if len(text) <= width:
        return text
    end = min(10, width - 2)
    return f"{text[: width - end - 1]}…{text[-end:]}"


def table(rows: list[list[str]], right: Container[int] = (), gap: str = "  ") -> list[str]:
    """Return lines with aligned columns: those in ``right`` to the right, others to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(gap.join(cells).rstrip())
    return lines
