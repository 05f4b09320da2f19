"""Values that YAML doesn't read as they were written (dates, names that look like numbers), and
numbers that are too large for any setting."""

from collections.abc import Iterator
from datetime import date
from typing import Any

from saev.settings.component import LARGEST

READ_AS = {bool: "true or false", int: "a number", float: "a number", type(None): "nothing"}


def surprises(value: Any, where: str = "") -> Iterator[str]:
    """Say which keys and values aren't plain text, numbers, lists or mappings, and what to write.

    Args:
        value: settings as read from YAML.
        where: the key of ``value``.
    """
    if isinstance(value, dict):
        for key, inner in value.items():
            here = f"{where}.{key}" if where else str(key)
            if not isinstance(key, str):
                yield f"{here}: {quote(key)}"
            yield from surprises(inner, here)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from surprises(inner, f"{where}[{number}]")
    elif isinstance(value, int) and abs(value) > LARGEST:
        yield f"{where}: {value:.3g}: is too large: no number may have more than 64 bits"
    elif isinstance(value, date):
        yield f"{where}: {quote(value)}"
    elif not isinstance(value, (str, bool, int, float, type(None))):
        yield f"{where}: {type(value).__name__}: must be text, a number, a list or a mapping"


def quote(value: Any) -> str:
    """Say what YAML took a text for, and that quotes help."""
    read_as = "a date" if isinstance(value, date) else READ_AS[type(value)]
    hint = "" if isinstance(value, (bool, type(None))) else f', such as "{value}"'
    return f"YAML reads this as {read_as}: put it in quotes{hint}"
