"""What is known of dictionaries from elsewhere when the workflow is parsed."""

from pathlib import Path
from typing import NamedTuple

from saev.core.errors import UserError
from saev.core.files import read_json
from saev.core.meta import META
from saev.elsewhere.common_form import Hints
from saev.elsewhere.fetching import fetched
from saev.elsewhere.libraries import look
from saev.settings.elsewhere import ElsewhereSettings
from saev.settings.vit import VitSettings
from saev.workflow.hashes import Hashes
from saev.workflow.known_towers import vision_config

CONVERSION = "saev.train.conversion"
"""The module that converts them. Its code counts for them alone, so that a new format doesn't train
any dictionary again."""


class FromElsewhere(NamedTuple):
    """A dictionary that was looked at."""

    files: dict[str, str]
    """SHA-256 of each of its files, by name."""
    d: int | None
    """Width of its vectors; None if only the weights tell."""
    n_latents: int | None
    """As above."""
    path: Path


def looked_at(name: str, settings: ElsewhereSettings, hashes: Hashes) -> FromElsewhere:
    """Find a dictionary's files and read what they say of it, without their weights.

    Args:
        name: the entry of `sae`; settings: its settings.
        hashes: remembers digests.

    Raises:
        UserError: there are no such files, or they can't be converted.
    """
    where = f"sae.{name}.checkpoint"
    path = fetched(settings.checkpoint, where)
    described = look(path, Hints(settings.selects, settings.k), where).described
    files = {file.name: hashes.of(str(file)) for file in described.files}
    return FromElsewhere(files, described.d, described.n_latents, path)


def require_width(
    name: str, found: FromElsewhere, tokens: str, vit: VitSettings, recording: Path
) -> None:
    """Refuse a dictionary for vectors of another width than the tower's, as far as it is known.

    Args:
        name: the entry of `sae`; found: what its files say; tokens: what it was trained on.
        vit: the tower; recording: the directory of its activations, which may not be there yet.
    """
    widths = set()
    if (recording / META).is_file():
        streams = read_json(recording / META)["summary"]["streams"].values()
        widths = {s["d"] for s in streams if s.get("kind") == tokens}
    else:
        config = vision_config(vit.model)
        width = config.get("embed_dim" if tokens == "pooled" else "width")
        if isinstance(width, int) and "timm_model_name" not in config:
            widths = {width}
    if found.d is not None and widths and found.d not in widths:
        raise UserError(
            f"sae.{name}.checkpoint: {found.path} takes vectors of width {found.d}, but {tokens} "
            f"of {vit.model} have width {', '.join(map(str, sorted(widths)))}: it is for another "
            f"tower"
        )
