"""Reads weights out of an ONNX file: enough of the protobuf wire format, and dequantisation.

The field numbers are those of the public ONNX schema (onnx.proto3): ModelProto.graph = 7;
GraphProto.node = 1, .initializer = 5; NodeProto.input = 1, .output = 2, .name = 3, .op_type = 4;
TensorProto.dims = 1, .data_type = 2, .float_data = 4, .int32_data = 5, .int64_data = 7, .name = 8,
.raw_data = 9.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from saev.errors import UserError

TYPES = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8"}


class Node(NamedTuple):
    """An operation of the graph."""

    kind: str
    name: str
    inputs: list[str]
    outputs: list[str]


def fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield number and value of each field of a message (a whole number, or bytes).

    Raises:
        UserError: it isn't a protobuf message.
    """
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        kind = key & 7
        if kind == 0:
            number, at = varint(data, at)
            yield key >> 3, number
            continue
        if kind == 2:
            size, at = varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise UserError(f"this isn't an ONNX file: wire type {kind} at byte {at}")
        if at + size > len(data):
            raise UserError(f"the ONNX file is cut short: a field ends at byte {at + size}")
        yield key >> 3, data[at : at + size]
        at += size


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """Read a variable-length whole number at byte ``at``; return it and where it ends."""
    value = shift = 0
    while at < len(data):
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise UserError("the ONNX file is cut short: a number has no end")


def read_graph(data: bytes) -> tuple[dict[str, np.ndarray], list[Node]]:
    """Read initialisers (by name) and nodes of an ONNX model."""
    tensors, nodes = {}, []
    for number, graph in fields(memoryview(data)):
        if number != 7 or isinstance(graph, int):
            continue
        for part, value in fields(graph):
            if part == 5 and not isinstance(value, int):
                name, array = _tensor(value)
                tensors[name] = array
            elif part == 1 and not isinstance(value, int):
                nodes.append(_node(value))
    return tensors, nodes


def _node(data: memoryview) -> Node:
    texts: dict[int, list[str]] = {1: [], 2: [], 3: [], 4: []}
    for number, value in fields(data):
        if number in texts and not isinstance(value, int):
            texts[number].append(str(value, "utf-8"))
    return Node("".join(texts[4]), "".join(texts[3]), texts[1], texts[2])


def _tensor(data: memoryview) -> tuple[str, np.ndarray]:
    dims: list[int] = []
    kind, name, raw = 0, "", memoryview(b"")
    numbers: list[int] = []
    for number, value in fields(data):
        if number == 1:
            dims += [value] if isinstance(value, int) else _packed(value)
        elif number == 2 and isinstance(value, int):
            kind = value
        elif number in (5, 7):
            numbers += [value] if isinstance(value, int) else _packed(value)
        elif number == 8 and not isinstance(value, int):
            name = str(value, "utf-8")
        elif number in (4, 9) and not isinstance(value, int):
            raw = value
    if kind not in TYPES:
        return name, np.empty(0)
    if len(raw):
        array = np.frombuffer(raw, TYPES[kind])
    else:
        array = np.array(numbers, dtype=np.uint64).astype(TYPES[kind])
    return name, array.reshape(dims)


def _packed(data: memoryview) -> list[int]:
    numbers, at = [], 0
    while at < len(data):
        number, at = varint(data, at)
        numbers.append(number)
    return numbers


def dequantise(weight: np.ndarray, scale: np.ndarray, zero_point: np.ndarray) -> np.ndarray:
    """W = (q − zero point) · scale, one scale an output channel.

    Args:
        weight: (in, out) int8.
        scale: (out) or () float32.
        zero_point: (out) or () int8.

    Returns:
        (out, in) float32.
    """
    centred = weight.astype(np.int32) - zero_point.astype(np.int32)
    return np.ascontiguousarray((centred.astype(np.float32) * scale.astype(np.float32)).T)
