"""The file that holds a whole dictionary: weights, normalisation, settings, lineage."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from saev.core.errors import UserError
from saev.core.files import atomic_path, canonical_json
from saev.core.spec import parsed
from saev.sae.base import Sae
from saev.sae.given import device_of
from saev.sae.registry import build
from saev.settings.sae import SAE_SETTINGS, AnySaeSettings

FORMAT_VERSION = 1
KEY = "saev"
"""The only key of the metadata: safetensors would write several keys in random order."""


def save(
    sae: Sae,
    path: str | Path,
    *,
    inputs: Mapping[str, str],
    stream: str,
) -> None:
    """Write ``sae`` to ``path`` atomically. The same dictionary always gives the same bytes.

    Args:
        sae: the dictionary.
        path: the file.
        inputs: SHA-256 of each upstream ``meta.json``, by stage.
        stream: name of the activations' stream (``layer-11.cls``).
    """
    metadata = {
        "format_version": FORMAT_VERSION,
        "architecture": sae.architecture,
        "equation": sae.equation,
        "settings": sae.settings.model_dump(mode="json"),
        "inputs": dict(inputs),
        "d": sae.d,
        "n_latents": sae.n_latents,
        "stream": stream,
    }
    tensors = {name: t.detach().cpu().contiguous() for name, t in sae.state_dict().items()}
    with atomic_path(path) as temporary:
        safetensors.torch.save_file(tensors, temporary, {KEY: canonical_json(metadata)})


def load(path: str | Path, device: str | torch.device = "cpu") -> Sae:
    """Read a checkpoint, in evaluation mode and without gradients.

    Args:
        path: the file.
        device: where to put it.

    Raises:
        UserError: it is missing or damaged, has a newer format, or isn't a checkpoint of saev.
    """
    path = Path(path)
    return parse(path, read(path), device)


def read(path: Path) -> bytes:
    """The bytes of a checkpoint.

    Raises:
        UserError: they can't be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: train the dictionary, or check the path") from error
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror}") from error


def parse(path: Path, data: bytes, device: str | torch.device = "cpu") -> Sae:
    """Make the dictionary from ``data``, the bytes of ``path``; see `load`."""
    tensors, metadata = _parse(path, data)
    settings = parsed(AnySaeSettings, metadata["settings"], f"the settings in {path}")
    sae = build(settings, metadata["d"])
    shapes = {name: tuple(t.shape) for name, t in sae.state_dict().items()}
    if {name: tuple(t.shape) for name, t in tensors.items()} != shapes:
        raise UserError(
            f"{path} doesn't hold the tensors of a {sae.architecture} dictionary with d={sae.d} "
            f"and n_latents={sae.n_latents}: expected {shapes}. Train it again."
        )
    sae.load_state_dict(tensors)
    sae.metadata, sae.stream = metadata, metadata["stream"]
    return sae.eval().requires_grad_(False).to(device_of(device))


def _parse(path: Path, data: bytes) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    try:
        tensors = safetensors.torch.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata = json.loads(header["__metadata__"][KEY])
        newest = metadata["format_version"]
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} isn't a checkpoint of saev ({type(error).__name__}: {error}). It may be cut "
            f"off: restore it from a copy or train again"
        ) from error
    if newest > FORMAT_VERSION:
        raise UserError(
            f"{path} has format {newest}; this saev reads up to {FORMAT_VERSION}: use a newer saev"
        )
    if metadata["architecture"] not in SAE_SETTINGS:
        raise UserError(
            f"{path} has the architecture {metadata['architecture']!r}; this saev knows: "
            f"{', '.join(SAE_SETTINGS)}"
        )
    return tensors, metadata
