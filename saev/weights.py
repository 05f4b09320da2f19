"""Weights of towers: files, tags and hubs, read without running code that they hold."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from saev.errors import UserError
from saev.settings.vit import WEIGHT_FILES

Result = TypeVar("Result")
StateDict = dict[str, torch.Tensor]


def is_file_name(weights: str) -> bool:
    """Whether ``weights`` names a file, not a tag: told by its end, as the plan does, which hashes it."""
    return weights.endswith(WEIGHT_FILES)


def read_state_dict(path: str | Path) -> StateDict:
    """Read tensors by name; training checkpoints and names that start with ``module.`` are unwrapped.

    Raises:
        UserError: the file is missing, damaged, or holds code.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no weights file {path}: check the setting weights")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # safetensors, zipfile and torch each have errors of their own for a damaged file.
        raise UserError(
            f"can't read the weights {path}: {_first_line(error)}. It must be a .safetensors file, or "
            f"a PyTorch file of tensors alone (a TorchScript archive or a pickled model would run code: "
            f"convert it to safetensors)"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not state:
        raise UserError(f"the weights {path} hold no tensors by name")
    tensors = {
        str(k).removeprefix("module."): v for k, v in state.items() if isinstance(v, torch.Tensor)
    }
    return {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}


def load_strictly(module: torch.nn.Module, state: StateDict, source: str, model: str) -> None:
    """Load all of ``state`` into ``module``.

    Raises:
        UserError: names or shapes don't match; gives a few of them.
    """
    own = module.state_dict()
    missing = sorted(own.keys() - state.keys())
    surplus = sorted(state.keys() - own.keys())
    shapes = [
        f"{k} is {tuple(state[k].shape)}, not {tuple(own[k].shape)}"
        for k in sorted(own.keys() & state.keys())
        if own[k].shape != state[k].shape
    ]
    problems = [
        f"{len(found)} {what}, such as {found[0]}"
        for what, found in (
            ("tensors are missing", missing),
            ("tensors are not the model's", surplus),
            ("shapes differ", shapes),
        )
        if found
    ]
    if problems:
        raise UserError(
            f"the weights {source} don't fit the model {model}: {'; '.join(problems)}. Use the weights "
            f"of this very model (the same width, blocks and patch size)"
        )
    module.load_state_dict(state)


def from_hub(what: str, fetch: Callable[[], Result]) -> Result:
    """Run a download; whatever goes wrong becomes one line.

    Raises:
        UserError: it failed.
    """
    try:
        return fetch()
    except Exception as error:
        raise UserError(
            f"can't get {what} from the hub ({type(error).__name__}: {_first_line(error)}). Check the "
            f"name and the network, or download the file elsewhere and name it in the setting weights"
        ) from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
