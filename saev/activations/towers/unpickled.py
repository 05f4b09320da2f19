"""Reads weights files: safetensors, PyTorch files, checkpoints of trainings.

Never runs code from them.
"""

import json
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import torch

from saev.core.errors import UserError

StateDict = dict[str, torch.Tensor]

DATA_ONLY = re.compile(
    r"(numpy|argparse|pathlib|datetime|collections|types|typing|enum|decimal|uuid|omegaconf|yacs|easydict"
    r"|addict|ml_collections|lightning|pytorch_lightning|lightning_fabric|lightning_utilities)\."
    r"|_codecs\.encode$|builtins\.(set|frozenset|slice|range|complex|bytearray|int|float|str|bool|list|dict)$"
)
"""Types that trainings save beside tensors (settings, numpy's numbers, paths): passed over."""
DICTIONARIES = re.compile(r"([dD]ict|CfgNode|DictConfig|Counter)$")
"""Those of them that hold items."""
REFUSED = re.compile(r"GLOBAL (\S+)")
"""How PyTorch's safe reader names a type that it doesn't know."""
REASON = re.compile(r"(?:WeightsUnpickler error|Unpickling error):\s*([^\n]*)")
"""What went wrong, in the middle of PyTorch's long errors."""
MARKS = re.compile(r"\x1b\[[0-9;]*m")
"""Escape codes that PyTorch puts into its errors."""
WRAPPERS = re.compile(r"(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""Parts of names that come from `torch.compile`, FSDP and checkpointing, at any depth."""


class PassedOver:
    """Stands for an object of a type in `DATA_ONLY`. Keeps nothing of it and runs nothing."""

    def __new__(cls, *_: Any, **__: Any) -> Self:
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


class PlainDict:
    """Stands for a type of dictionary in `DATA_ONLY`: gives an ordinary one."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return OrderedDict()


def header_problem(path: str | Path) -> str | None:
    """What is wrong with a weights file, as far as size and first bytes tell; None if nothing."""
    path = Path(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(200)
        if not start:
            return "is empty"
        if start.startswith(b"version https://git-lfs"):
            return "is a Git LFS pointer, not the file itself: fetch it with `git lfs pull`"
        if start.lstrip()[:1] == b"<":
            return "is a web page: download the file itself"
        if start.startswith(b"PK"):
            return None if zipfile.is_zipfile(path) else "is cut off"
        if start.startswith(b"\x80"):
            return None  # a PyTorch file from before version 1.6
        length = int.from_bytes(start[:8], "little")
        if size < 10 or start[8:9] != b"{":
            return "is neither a safetensors nor a PyTorch file"
        if length > size - 8:
            return "is cut off"
        file.seek(8)
        header = file.read(length)
    try:
        entries = json.loads(header)
        ends = [e["data_offsets"][1] for name, e in entries.items() if name != "__metadata__"]
    except (ValueError, LookupError, TypeError, AttributeError):
        return "has a damaged header"
    return "is cut off" if 8 + length + max(ends, default=0) > size else None


def read_tensors(path: str | Path) -> StateDict:
    """Read all tensors of a file, in their own types. Dots join the names of nested dictionaries.

    Raises:
        UserError: the file is missing, damaged, or holds objects that can't be read safely.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no weights file {path}: check the setting weights")
    problem = header_problem(path)
    if problem:
        raise UserError(f"can't read the weights {path}: the file {problem}")
    try:
        with path.open("rb") as file:
            is_torch = file.read(2)[:1] in (b"P", b"\x80")
        content = _unpickled(path) if is_torch else _safetensors(path)
    except UserError:
        raise
    except Exception as error:
        # safetensors, zipfile and torch raise different errors for a damaged file.
        raise UserError(f"can't read the weights {path}: {first_line(error)}") from error
    tensors = dict(_flattened(content, ""))
    if not tensors:
        raise UserError(f"the weights {path} hold no tensors by name")
    return tensors


def _safetensors(path: Path) -> StateDict:
    from safetensors.torch import load_file

    return load_file(path)


def _unpickled(path: Path) -> Any:
    """The content of a PyTorch file, with `PassedOver` in the place of harmless objects."""
    known: list[Any] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while True:
            try:
                with torch.serialization.safe_globals(known):
                    return torch.load(
                        path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
                    )
            except Exception as error:
                found = REFUSED.search(MARKS.sub("", str(error)))
                name = found[1] if found else None
                if name and "." not in name:
                    name = f"builtins.{name}"  # PyTorch leaves it out
                if name is None or not DATA_ONLY.match(name) or name in [n for _, n in known]:
                    raise _unsafe(path, name, error) from error
                of = PlainDict if DICTIONARIES.search(name) else PassedOver
                known.append((type(of.__name__, (of,), {}), name))


def _unsafe(path: Path, name: str | None, error: Exception) -> UserError:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(n.endswith("constants.pkl") for n in archive.namelist()):
                return UserError(
                    f"can't read the weights {path}: it is a TorchScript archive, which would run "
                    f'code. Save its tensors: python -c "import torch; '
                    f"torch.save(torch.jit.load('{path}', 'cpu').state_dict(), 'weights.pt')\""
                )
    if name is not None:
        return UserError(
            f"can't read the weights {path}: it holds a {name}, and reading that could run code. "
            f'If you trust the file, save only its tensors: python -c "import torch; '
            f"held = torch.load('{path}', 'cpu', weights_only=False); "
            f"torch.save(held.state_dict() if hasattr(held, 'state_dict') else held['state_dict'], "
            f"'weights.pt')\""
        )
    return UserError(f"can't read the weights {path}: {first_line(error)}")


def _flattened(value: Any, prefix: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and tensors in nested dictionaries, without wrappers in the names."""
    if not isinstance(value, Mapping):
        return
    for key, inner in value.items():
        if isinstance(key, str):
            if isinstance(inner, torch.Tensor):
                yield WRAPPERS.sub("", prefix + key), inner.detach()
            else:
                yield from _flattened(inner, f"{prefix}{key}.")


def first_line(error: BaseException) -> str:
    """The line of an error that says why, short and without escape codes."""
    text = MARKS.sub("", str(error)).strip()
    reason = REASON.search(text)
    line = reason[1] if reason else text.partition("\n")[0]
    return line.strip()[:200] or type(error).__name__
