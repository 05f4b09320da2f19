"""Loads the tower that made a recording again."""

import json
from pathlib import Path
from typing import Any

from saev.activations.towers.tower import Tower, load_tower
from saev.activations.towers.weights import is_file_name
from saev.core.errors import UserError
from saev.core.files import sha256_file
from saev.core.meta import RUN
from saev.settings.paths import located
from saev.settings.vit import VitSettings


def recorded_tower(recording: dict[str, Any], folder: Path, device: str) -> Tower:
    """The tower that recorded ``folder``.

    Raises:
        UserError: one of its files is gone or changed, or the tower differs from the recorded one.
    """
    tower = load_tower(recorded_settings(recording, folder), device)
    _require_same(tower.summary(), recording["summary"], folder)
    return tower


def recorded_settings(recording: dict[str, Any], folder: Path) -> VitSettings:
    """The settings of the tower that recorded ``folder``, with its files where they lie now.

    Raises:
        UserError: one of its files is gone or changed.
    """
    given = dict(recording["settings"])
    digests = {
        "model": given.pop("model_sha256", None),
        "weights": recording["summary"]["weights_sha256"],
    }
    for name, digest in digests.items():
        text = given.get(name) or ""
        if is_file_name(text) if name == "weights" else text.endswith(".json"):
            given[name] = located(text, folder.parent.parent.parent)
            _require_file(name, Path(given[name]), digest, folder)
    return VitSettings.model_validate_json(json.dumps(given))


def _require_file(name: str, path: Path, digest: str | None, folder: Path) -> None:
    if not path.is_file():
        raise UserError(
            f"{name}: the file {path} that {folder} was recorded with is gone: restore it"
            + (f" (SHA-256 {digest})" if digest else "")
        )
    if digest is not None and sha256_file(path) != digest:
        raise UserError(
            f"{name}: {path} isn't the file that {folder} was recorded with, which has the SHA-256 "
            f"{digest}: restore that one, or record again"
        )


def _require_same(now: dict[str, Any], then: dict[str, Any], folder: Path) -> None:
    """Refuse a tower that differs from what was recorded about it."""
    shapes = {
        name: {key: stream.get(key) for key in ("d", "n_patches", "kind", "layer")}
        for name, stream in then["streams"].items()
    }
    then = {**then, "streams": shapes}
    for key in ("weights_sha256", "n_blocks", "layers", "geometry", "streams"):
        # Weights of timm's tags weren't hashed at first.
        unknown = key == "weights_sha256" and then[key] is None
        if now[key] != then[key] and not unknown:
            raise UserError(
                f"the tower has {key} {now[key]} now, but {folder} was recorded with {then[key]}: "
                f"use the library versions in {folder / RUN} and the same weights, or record "
                "again"
            )
