"""Reads configurations and the headers of safetensors files, without their weights."""

import json
from pathlib import Path
from typing import Any

from saev.core.errors import UserError

LONGEST = 100_000_000
"""The safetensors format allows no longer header."""
TORCH = (b"P", b"\x80")
"""First bytes of the files of PyTorch: since version 1.6, and before it."""


def begins(path: Path, how: tuple[bytes, ...], at: int = 0) -> bool:
    """Whether a file has one of these bytes at a place."""
    with path.open("rb") as file:
        file.seek(at)
        return file.read(1) in how


def configuration(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file.

    Raises:
        UserError: it can't be read, or holds something else.
    """
    try:
        return mapping(path.read_bytes(), path)
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror}") from error


def mapping(text: bytes, path: Path) -> dict[str, Any]:
    """The mapping that JSON text from ``path`` holds.

    Raises:
        UserError: it isn't JSON, or holds something else.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} isn't JSON ({error}): fetch the file again") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} holds a {type(found).__name__}, not a mapping of keys")
    return found


def safetensors_header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file: shape and type of each tensor, and ``__metadata__``.

    Raises:
        UserError: it is damaged.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(min(length, LONGEST))
    if len(text) < length or not text.startswith(b"{"):
        raise UserError(f"{path} isn't a safetensors file, or is cut off: fetch it again")
    return mapping(text, path)


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors of a safetensors file, by name.

    Raises:
        UserError: it is damaged, or cut off.
    """
    entries = safetensors_header(path)
    entries.pop("__metadata__", None)
    try:
        found = {name: tuple(e["shape"]) for name, e in entries.items()}
        end = max([0, *(int(e["data_offsets"][1]) for e in entries.values())])
    except (LookupError, TypeError, ValueError) as error:
        raise UserError(f"{path} has a damaged header: fetch it again") from error
    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
    if path.stat().st_size < start + end:
        raise UserError(f"{path} is cut off: fetch it again")
    return found


def require_shapes(path: Path, wanted: dict[str, tuple[int, ...]]) -> None:
    """Refuse a safetensors file without these tensors, or with other shapes."""
    found = shapes(path)
    for name, shape in wanted.items():
        if name not in found:
            raise UserError(f"{path} has no tensor {name!r}; it holds: {', '.join(sorted(found))}")
        if found[name] != shape:
            raise UserError(f"{path}: {name} has the shape {found[name]}, not {shape}")
