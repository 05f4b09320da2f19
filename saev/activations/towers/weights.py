"""Loads weights of towers from files, tags and hubs."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch

from saev.activations.towers.names import from_transformers, tower_of
from saev.activations.towers.unpickled import StateDict, first_line, read_tensors
from saev.core import logs
from saev.core.errors import UserError
from saev.core.files import sha256_file
from saev.settings.near import did_you_mean
from saev.settings.vit import WEIGHT_FILES

Result = TypeVar("Result")
PIECE = re.compile(r"-\d+-of-\d+\.")
"""In the names of files that hold a part of a model each."""


class WeightsFile(NamedTuple):
    """A weights file."""

    path: Path
    sha256: str
    commit: str | None
    """Commit of the hub's repository that it comes from."""


def is_file_name(weights: str) -> bool:
    """Whether ``weights`` names a file and not a tag, by its extension. The plan does the same."""
    return weights.endswith(WEIGHT_FILES)


def no_such_tag(weights: str, model: str, tags: Sequence[str]) -> UserError:
    """The error for ``weights`` that are neither a file nor a tag of ``model``."""
    return UserError(
        f"weights: {weights!r} is neither a file ({', '.join(WEIGHT_FILES)}) nor a tag of "
        f"{model}; its tags: {', '.join(tags) or 'none'}; or "
        f"random{did_you_mean(weights, list(tags))}"
    )


def only_checking() -> bool:
    """Whether towers are built without weights or downloads: under `torch.device("meta")`."""
    return torch.get_default_device().type == "meta"


def weights_file(path: str | Path, stated: str | None) -> WeightsFile:
    """A weights file with its SHA-256.

    Raises:
        UserError: it is missing, or its SHA-256 differs from the one ``stated`` in the settings.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"weights: there is no file {path}")
    # The plan hashed the file before it asks for a check.
    found = stated if stated and only_checking() else sha256_file(path)
    if stated not in (None, found):
        raise UserError(
            f"the weights {path} have SHA-256 {found}, not {stated} as "
            f"weights_sha256 says: get the right file, or correct the setting"
        )
    return WeightsFile(path, found, commit_of(path))


def commit_of(path: Path) -> str | None:
    """Commit of a file in the cache of the Hugging Face hub; None for other files."""
    parts = path.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts[:-2] else None


def read_weights(path: str | Path, own: Iterable[str]) -> StateDict:
    """The tensors of one tower in a file, float32, as open_clip, timm or their authors name them.

    Without their numbers if towers are only checked.

    Args:
        path: the file.
        own: names of the tower's own tensors.

    Returns:
        all tensors of the file if none of them has such a name.

    Raises:
        UserError: the file is missing, damaged, holds several towers, or can't be read safely.
    """
    place = "meta" if only_checking() else "cpu"
    with torch.device("cpu"):
        state = read_tensors(path)
        translated = from_transformers(state, str(path))
        state = state if translated is None else translated
        state = tower_of(state, own, str(path)) or state
        return {
            k: v.to(place, torch.float32 if v.is_floating_point() else v.dtype)
            for k, v in state.items()
        }


def load_strictly(module: torch.nn.Module, state: StateDict, source: str, model: str) -> None:
    """Load all of ``state`` into ``module``.

    Raises:
        UserError: names or shapes don't match; shows examples.
    """
    own = module.state_dict()
    _require_floats(own, state, source, model)
    missing = sorted(own.keys() - state.keys())
    surplus = sorted(state.keys() - own.keys())
    if len(missing) == len(own):
        raise UserError(
            f"the weights {source} don't fit the model {model}: none of their {len(state)} tensors "
            f"has a name of this model. They hold {surplus[0]}, the model {missing[0]}. "
            f"{_remedy(source, state)}"
        )
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
            f"the weights {source} don't fit the model {model}: {'; '.join(problems)}. "
            f"{_remedy(source, state)}"
        )
    if not only_checking():
        _require_finite(state, source)
        module.load_state_dict(state)


def _require_finite(state: StateDict, source: str) -> None:
    """Refuse NaN and infinities, of which every activation would be NaN.

    Raises:
        UserError: a tensor holds such numbers.
    """
    odd = [
        name
        for name in sorted(state)
        if state[name].is_floating_point() and not state[name].isfinite().all()
    ]
    if odd:
        raise UserError(
            f"the weights {source} hold NaN or infinite numbers in {len(odd):,} tensors, such as "
            f"{odd[0]}: the training that wrote them broke off, or the file is damaged. Use "
            f"another one"
        )


def say_resampled(path: Path, was: int, is_now: int) -> None:
    """Say that a file was trained with another grid of patches."""
    if not only_checking():
        logs.say(
            f"{path} has {was:,} positions, the tower has {is_now:,}, so they were resampled. Set "
            f"image_size if the weights were trained with images of another size"
        )


def _require_floats(own: StateDict, state: StateDict, source: str, model: str) -> None:
    """Refuse compressed weights: integers and the like load without an error, but mean others.

    Raises:
        UserError: a tensor of floats is none in the file.
    """
    odd = [
        f"{name} is {str(state[name].dtype).removeprefix('torch.')}"
        + ("" if state[name].layout == torch.strided else " and sparse")
        for name in sorted(own.keys() & state.keys())
        if own[name].is_floating_point()
        and not (state[name].is_floating_point() and state[name].layout == torch.strided)
    ]
    if odd:
        raise UserError(
            f"the weights {source} aren't plain numbers: {len(odd):,} tensors of {model} are "
            f"quantised or sparse, such as {odd[0]}: use the file before it was compressed"
        )


def _remedy(source: str, state: StateDict) -> str:
    """What to do about weights that don't fit."""
    if PIECE.search(Path(source).name):
        return "The file is one of several pieces: join them in one file"
    if any("lora_" in name for name in state):
        return "The file holds an adapter (LoRA): merge it into its model, and save that"
    if any(".parametrizations." in name or name.endswith("weight_g") for name in state):
        return "Its weights are parametrised: remove the parametrisation, and save again"
    return "Use weights of exactly this model (same width, blocks and patch size)"


def from_hub(what: str, fetch: Callable[[], Result]) -> Result:
    """Run a download. Turns every error into one line.

    Raises:
        UserError: it failed.
    """
    try:
        return fetch()
    except Exception as error:
        raise UserError(
            f"can't get {what} from the hub ({type(error).__name__}: {first_line(error)}). Check "
            f"the name and the network, or download the file elsewhere and name it in the setting "
            f"weights",
            may_pass=True,
        ) from error
