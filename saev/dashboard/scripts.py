"""Writes data as plain scripts: browsers refuse to fetch files from `file://`, but load scripts."""

import base64
import json
import math
from dataclasses import asdict
from typing import Any

import numpy as np

DIGITS = 4
"""Significant digits of figures that nothing is sorted or filtered by."""


def script(name: str, value: Any) -> bytes:
    """One JSON document behind one assignment, as a script: ``saevData["name"]=…;``.

    The text is safe inside HTML too: markup can't end a script or start another.

    Raises:
        ValueError: there is a NaN or an infinity in ``value``.
    """
    return f'saevData["{name}"]={embedded(value)};\n'.encode()


def embedded(value: Any) -> str:
    """``value`` as JSON that is safe inside a `<script>`. Dataclasses become objects."""
    text = json.dumps(
        value,
        ensure_ascii=False,
        allow_nan=False,
        sort_keys=True,
        separators=(",", ":"),
        default=asdict,
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
    """``number`` rounded to four significant digits; None stays None."""
    if number is None:
        return None
    if number == 0 or not math.isfinite(number):
        return 0 if number == 0 else None
    value = float(f"{number:.{DIGITS}g}")
    return int(value) if value.is_integer() and abs(value) < 1e15 else value


def packed(values: np.ndarray) -> str:
    """Pack bytes that are mostly zero into pairs ``(zeros before, value)``, as base64.

    ``(255, 0)`` stands for 255 zeros.

    Args:
        values: uint8 of any shape. Zeros at the end are left out.
    """
    flat = values.reshape(-1)
    filled = np.flatnonzero(flat)
    zeros = np.diff(filled, prepend=-1) - 1
    pairs = np.zeros((int((zeros // 255 + 1).sum()), 2), np.uint8)
    pairs[:, 0] = 255
    at = np.cumsum(zeros // 255 + 1) - 1
    pairs[at, 0], pairs[at, 1] = zeros % 255, flat[filled]
    return base64.b64encode(pairs.tobytes()).decode()


def varints(values: np.ndarray) -> bytes:
    """Pack integers of 0 or more, seven bits in each byte, the lowest first (LEB128)."""
    values = np.asarray(values, np.int64)
    size = 1 + (values[:, None] >> np.arange(7, 63, 7) > 0).sum(1)
    ends = np.cumsum(size)
    out = np.zeros(int(ends[-1]) if len(ends) else 0, np.uint8)
    for place in range(int(size.max(initial=0))):
        here = size > place
        more = np.where(size[here] > place + 1, 128, 0)
        out[(ends - size)[here] + place] = (values[here] >> 7 * place & 127) | more
    return out.tobytes()


def unpacked(text: str, size: int) -> np.ndarray:
    """The inverse of `packed`: (size,) uint8."""
    pairs = np.frombuffer(base64.b64decode(text), np.uint8).reshape(-1, 2).astype(np.int64)
    out = np.zeros(size, np.uint8)
    filled = pairs[:, 1] > 0
    ends = np.cumsum(pairs[:, 0] + filled)
    out[ends[filled] - 1] = pairs[filled, 1]
    return out
