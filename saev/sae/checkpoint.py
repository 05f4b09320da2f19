"""One file that holds a whole dictionary: weights, architecture, normalisation, settings, lineage."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from saev.artifacts.meta import META, read_meta
from saev.artifacts.sae import CHECKPOINT, STAGE
from saev.errors import UserError
from saev.files import atomic_path, canonical_json, sha256_bytes
from saev.sae.base import Sae
from saev.sae.registry import ARCHITECTURES, build

FORMAT_VERSION = 1
KEY = "saev"
"""The one key of the metadata: safetensors writes several in random order."""
TENSORS = ("W_enc", "b_enc", "W_dec", "b_dec", "norm_mean", "norm_scale")


def save(
    sae: Sae,
    path: str | Path,
    *,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str],
    stream: str,
) -> None:
    """Write ``sae`` to ``path``, atomically; the same dictionary gives the same bytes.

    Args:
        sae: the dictionary.
        path: the file.
        settings: all settings that it was trained with.
        inputs: SHA-256 of each upstream ``meta.json``, by stage.
        stream: name of the activations' stream (``layer-11.cls``).
    """
    metadata = {
        "format_version": FORMAT_VERSION,
        "architecture": sae.architecture,
        "equation": sae.equation,
        "settings": dict(settings),
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
        path: the file, or the directory of its training run. When the run's ``meta.json`` lies
            beside it, the bytes are compared with the SHA-256 there.
        device: where to put it.

    Raises:
        UserError: it is missing, altered, of a newer format, or no checkpoint of this project.
    """
    path = Path(path)
    if path.is_dir():
        path = path / CHECKPOINT
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: train the dictionary, or check the path") from error
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror}") from error
    _require_recorded(path, data)
    tensors, metadata = _parse(path, data)
    sae = build(metadata["settings"], metadata["d"])
    shapes = {name: tuple(t.shape) for name, t in sae.state_dict().items()}
    if {name: tuple(t.shape) for name, t in tensors.items()} != shapes:
        raise UserError(
            f"{path} doesn't hold the tensors of a {sae.architecture} dictionary with d={sae.d} and "
            f"n_latents={sae.n_latents}: expected {shapes}. Train it again."
        )
    sae.load_state_dict(tensors)
    sae.metadata, sae.stream = metadata, metadata["stream"]
    return sae.eval().requires_grad_(False).to(device)


def _require_recorded(path: Path, data: bytes) -> None:
    """Compare the checkpoint with the ``meta.json`` beside it, if there is one."""
    if not (path.parent / META).is_file():
        return
    meta, _ = read_meta(path.parent, STAGE)
    entry = next((e for e in meta["files"] if e["name"] == path.name), None)
    if entry and entry["sha256"] != sha256_bytes(data):
        raise UserError(
            f"{path} was altered after training: its SHA-256 isn't the one in {path.parent / META}. "
            f"Bring the file back, or remove the directory and train again."
        )


def _parse(path: Path, data: bytes) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    try:
        tensors = safetensors.torch.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata = json.loads(header["__metadata__"][KEY])
        newest = metadata["format_version"]
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is no checkpoint of saev ({type(error).__name__}: {error}): it may be cut off; "
            f"bring it back or train again"
        ) from error
    if newest > FORMAT_VERSION:
        raise UserError(
            f"{path} has format {newest}; this saev reads up to {FORMAT_VERSION}: use a newer saev"
        )
    if metadata["architecture"] not in ARCHITECTURES:
        raise UserError(
            f"{path} has the architecture {metadata['architecture']!r}; this saev knows: "
            f"{', '.join(ARCHITECTURES)}"
        )
    return tensors, metadata
