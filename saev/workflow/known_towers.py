"""What is known of towers when the workflow is parsed: depth, class token, wrong settings."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from saev.core import logs
from saev.core.errors import UserError
from saev.core.files import canonical_json, sha256_bytes
from saev.settings.vit import WEIGHT_FILES, VitSettings
from saev.workflow.digests import ROOT, module_digest
from saev.workflow.remembered import remember, remembered

PREVIEW = "saev.activations.towers.preview"
LIBRARIES = ("torch", "timm", "open_clip_torch")
SECONDS = 300
"""After this time a check counts as not done. The recording checks the same again."""


class Facts(NamedTuple):
    """What is known about a tower; None where it isn't known before the tower is loaded."""

    n_blocks: int | None = None
    has_class_token: bool | None = None
    n_patches: int | None = None


class Towers:
    """Checks towers, each once, and remembers what was found in a file.

    Towers of open_clip with random weights are read from its configuration. For others a program
    that imports PyTorch runs once, a few seconds, until the settings, the weights, saev or a
    library change.

    Args:
        path: the file.
        code: gives the digest of a module's code.
    """

    def __init__(self, path: Path, code: Callable[[str], str] = module_digest) -> None:
        self.path, self._code = path, code
        self.known: dict[str, dict[str, Any]] = remembered(path)

    def check(self, towers: Mapping[str, VitSettings]) -> dict[str, Facts]:
        """What is known about towers, by the names of their entries.

        Raises:
            UserError: the settings of one name a model, tag, file, layer or token that isn't there.
        """
        asked = {name: _asked(settings) for name, settings in towers.items()}
        answers = self._answers({name: one for name, one in asked.items() if one is not None})
        facts = {}
        for name, settings in towers.items():
            found_one = answers[name] if name in answers else _configured(settings)
            if "error" in found_one:
                raise UserError(_placed(name, found_one["error"]))
            if "unchecked" in found_one:
                logs.say(
                    f"vit.{name}: {settings.model} can't be checked before it is recorded: "
                    f"{found_one['unchecked']}"
                )
                found_one = {}
            facts[name] = Facts(**found_one)
            _require(name, settings, facts[name])
        return facts

    def no_text_tower(self, settings: VitSettings) -> str:
        """Why no text tower belongs to a tower; empty if one does, or if only loading it tells."""
        if settings.weights is None or settings.model.startswith("hf-hub:"):
            return ""
        given = _described(settings) | {"layers": [-1], "tokens": ["patches"], "texts": True}
        reason: str = self._answers({"": given})[""].get("error", "")
        return reason

    def _answers(self, asked: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """What the program says to each question, now or before; nothing where it can't run."""
        keys = {name: _key(given, self._code(PREVIEW)) for name, given in asked.items()}
        missing = {key: name for name, key in keys.items() if key not in self.known}
        if missing:
            found = _run([asked[name] for name in missing.values()])
            self.known |= dict(zip(missing, found, strict=False))
            if found:
                remember(self.path, self.known)
        return {name: self.known.get(key, {}) for name, key in keys.items()}


def without_file(settings: VitSettings) -> VitSettings:
    """The same tower with random weights, for a file that isn't to be read yet."""
    return settings.model_copy(update={"weights": "random", "weights_sha256": None, "like": None})


def _asked(settings: VitSettings) -> dict[str, Any] | None:
    """What the program is asked about a tower; None for names on a hub, and for what is known."""
    if settings.weights is None or settings.model.startswith("hf-hub:"):
        return None
    if settings.weights == "random" and _configured(settings):
        return None
    tokens = ["patches", *(["pooled"] if "pooled" in settings.tokens else [])]
    return _described(settings) | {"layers": [-1], "tokens": tokens}


def _described(settings: VitSettings) -> dict[str, Any]:
    """The settings that say which tower it is."""
    names = ("model", "weights", "like", "weights_sha256", "image_size")
    return settings.model_dump(mode="json", include=set(names), exclude_defaults=True)


def _key(given: dict[str, Any], code: str) -> str:
    """Digest of all that the answer depends on."""
    files = [Path(given["model"]), Path(given["weights"])]
    seen = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.is_file()]
    return sha256_bytes(canonical_json([given, seen, code, *map(_version, LIBRARIES)]).encode())[
        :16
    ]


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _run(given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Answers of the program; none if it can't run here, for example without PyTorch. Says why."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    quiet = {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    try:
        done = subprocess.run(
            [sys.executable, "-m", PREVIEW],
            input=json.dumps(given),
            env={**os.environ, **quiet, "PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
        answers: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    except (OSError, ValueError, IndexError, subprocess.SubprocessError) as error:
        told = (getattr(error, "stderr", None) or "").strip() or str(error)
        logs.say(f"towers can't be checked before they are recorded: {told.splitlines()[-1]}")
        return []
    return answers


def _placed(name: str, error: str) -> str:
    """An error with the place in the settings that it is about."""
    key = error.partition(":")[0]
    return f"vit.{name}.{error}" if key in VitSettings.model_fields else f"vit.{name}: {error}"


def _require(name: str, settings: VitSettings, facts: Facts) -> None:
    """Refuse layers, tokens, tags and sizes that the tower doesn't have."""
    weights, side = settings.weights or "random", settings.image_size
    if (
        settings.model.endswith(".json")
        and weights != "random"
        and not (weights.endswith(WEIGHT_FILES))
    ):
        raise UserError(
            f"vit.{name}.weights: {weights!r} is neither a file ({', '.join(WEIGHT_FILES)}) nor "
            f"random; a configuration file such as {settings.model} has no tags"
        )
    patch = vision_config(settings.model).get("patch_size") if side else None
    if isinstance(patch, int) and side is not None and side < patch:
        raise UserError(
            f"vit.{name}.image_size: {side} is smaller than a patch of {settings.model}, which "
            f"has {patch} pixels: give a multiple of {patch}"
        )
    depth = facts.n_blocks
    for layer in settings.layers:
        if depth is not None and not -depth <= layer < depth:
            raise UserError(
                f"vit.{name}.layers: {layer} is out of range: {settings.model} has {depth} "
                f"blocks, 0 to {depth - 1} (or -{depth} to -1)"
            )
    if facts.has_class_token is False and "cls" in settings.tokens:
        raise UserError(
            f"vit.{name}.tokens: {settings.model} has no class token, so there is no cls; use "
            f"patches or pooled"
        )


def require_layer(
    where: str, layer: int | None, layers: Sequence[int], n_blocks: int | None
) -> None:
    """Refuse a dictionary's layer that isn't recorded; −1 and the number of the last block are one.

    Args:
        where: the run, for the message.
        layer: the dictionary's; None for pooled tokens.
        layers: those that are recorded.
        n_blocks: blocks of the tower; None if unknown. Then the training compares.
    """
    if layer is None or n_blocks is None:
        return
    there = -n_blocks <= layer < n_blocks
    if not there or layer % n_blocks not in {recorded % n_blocks for recorded in layers}:
        raise UserError(
            f"{where}: the dictionary trains on layer {layer}, but the recording keeps layers "
            f"{list(layers)} of {n_blocks} blocks"
        )


def _configured(settings: VitSettings) -> dict[str, Any]:
    """What open_clip's configuration says about a tower; empty for others."""
    config = vision_config(settings.model)
    depth = config.get("layers")
    if not isinstance(depth, int) or "timm_model_name" in config or not config["embed_dim"]:
        return {}
    found = {"n_blocks": depth, "has_class_token": True}
    side, patch = settings.image_size or config.get("image_size"), config.get("patch_size")
    if isinstance(side, int) and isinstance(patch, int) and patch > 0:
        found["n_patches"] = (side // patch) ** 2
    return found


def vision_config(model: str) -> dict[str, Any]:
    """Configuration of an open_clip tower; empty for hub and timm names."""
    path = Path(model)
    if path.suffix != ".json":
        found = find_spec("open_clip")
        if found is None or found.origin is None:
            return {}
        path = Path(found.origin).parent / "model_configs" / f"{model}.json"
    try:
        config = json.loads(path.read_bytes())
        return {"embed_dim": config.get("embed_dim"), **config["vision_cfg"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
