"""Data as plain scripts: browsers refuse to fetch files from `file://`, but they load scripts."""

import json
import math
from typing import Any

import numpy as np

DIGITS = 4
"""Significant digits of figures on the page; programs read `latents.parquet`."""


def script(call: str, value: Any) -> bytes:
    """One JSON document behind one call, as a script.

    The text is safe inside HTML too: markup can't end a script or start another.

    Raises:
        ValueError: there is a NaN or an infinity in ``value``.
    """
    return f"{call}({embedded(value)});\n".encode()


def embedded(value: Any) -> str:
    """``value`` as JSON that can stand inside a `<script>`."""
    text = json.dumps(
        value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
    )
    # < and > would allow </script> and <!--; U+2028 and U+2029 end a line in older scripts.
    unsafe = {
        "<": "\\u003c",
        ">": "\\u003e",
        "&": "\\u0026",
        "\u2028": "\\u2028",
        "\u2029": "\\u2029",
    }
    for character, escape in unsafe.items():
        text = text.replace(character, escape)
    return text


def rounded(number: float | None) -> float | int | None:
    """``number`` with four significant digits; None stays None."""
    if number is None:
        return None
    if number == 0 or not math.isfinite(number):
        return 0 if number == 0 else None
    value = float(f"{number:.{DIGITS}g}")
    return int(value) if value.is_integer() and abs(value) < 1e15 else value


def column(values: np.ndarray | list) -> list:
    """A column of figures for the page: whole numbers as they are, others rounded, missing as null."""
    out = []
    for value in list(values):
        if value is None or isinstance(value, (str, int, np.integer)):
            out.append(int(value) if isinstance(value, np.integer) else value)
        else:
            out.append(None if math.isnan(value) else rounded(float(value)))
    return out
