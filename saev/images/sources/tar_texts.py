"""Texts beside the images of a tar, and the columns that they become."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from saev.core.errors import UserError
from saev.images.sources.source import SOURCE

TEXTS = ("txt", "cls", "json")
TEXT_BYTES = 1 << 16
"""A longer text isn't a label and is ignored."""
WHOLE = 1e15
"""Floats below it that are whole numbers are exactly those."""


class Texts(NamedTuple):
    """What the texts of one sample say."""

    columns: dict[str, str]
    contradictions: dict[str, str]
    """By column: which files, or places of one, say different things about it, and what."""


def kind_of(extension: str) -> str:
    """The last part of an extension."""
    return extension.rpartition(".")[2]


def texts_of(path: Path, members: Iterable[tuple[str, str, bytes | None]]) -> Texts:
    """Columns of a sample. What two files, or places of one, contradict each other about is none.

    Args:
        path: the tar, for messages.
        members: name, extension, and the content of each short text.

    Raises:
        UserError: a text can't be read.
    """
    found: dict[str, str] = {}
    said_by: dict[str, str] = {}
    contradictions: dict[str, str] = {}
    for file, extension, data in members:
        if data is None:
            continue
        for name, text in _read(path, file, extension, data):
            column = SOURCE + name
            if found.setdefault(column, text) != text:
                contradictions[column] = (
                    f"in {path}, {said_by[column]} says {found[column]!r}, and {file} says {text!r}"
                )
            said_by.setdefault(column, file)
    return Texts({c: v for c, v in found.items() if c not in contradictions}, contradictions)


class _Object(list[tuple[str, Any]]):
    """Names and values of a JSON object, in which a name may stand twice."""


def _read(path: Path, file: str, extension: str, data: bytes) -> list[tuple[str, str]]:
    """Labels that a text holds, with their names."""
    kind = kind_of(extension)
    try:
        text = data.decode("utf-8-sig")
        if kind != "json":
            return _labels([(extension.removesuffix(".txt"), text)])
        values = json.loads(text, object_pairs_hook=_Object)
        json.dumps(values, ensure_ascii=False).encode()  # half a surrogate is no text
    except (ValueError, RecursionError) as error:
        raise UserError(f"tars: {path}: {file} isn't {kind} in UTF-8: {error}") from error
    return _labels(values) if isinstance(values, _Object) else []


def _labels(values: list[tuple[str, Any]]) -> list[tuple[str, str]]:
    """Those of the values that say something: no empty texts, and no numbers that are none."""
    return [
        (name, text)
        for name, value in values
        if isinstance(value, (str, int, float)) and (text := _as_text(value))
    ]


def _as_text(value: str | float) -> str:
    """A value as a label, as Arrow writes it. 1.0 is 1: programs write whole numbers both ways."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return ""
        return str(int(value)) if value.is_integer() and abs(value) < WHOLE else json.dumps(value)
    return value.strip() if isinstance(value, str) else json.dumps(value)
