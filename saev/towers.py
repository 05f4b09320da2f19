"""Where towers come from: open_clip's and timm's names, hubs, configuration files, local weights."""

import copy
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import nn

from saev.decode import RESAMPLING, Geometry
from saev.errors import UserError
from saev.files import read_json, sha256_file
from saev.settings.vit import WEIGHT_FILES, VitSettings
from saev.weights import StateDict, from_hub, is_file_name, load_strictly, read_state_dict

HUB, TIMM = "hf-hub:", "timm/"


class Loaded(NamedTuple):
    """A tower as its library makes it, with the geometry of its input."""

    module: nn.Module
    geometry: Geometry
    weights_sha256: str | None


def load(settings: VitSettings) -> Loaded:
    """Build the tower and load its weights, on the CPU.

    Raises:
        UserError: see `saev.vit.load_tower`.
    """
    name = settings.weights
    if name and is_file_name(name) and not Path(name).is_file():
        raise UserError(f"weights: there is no file {name}")
    if name == "random" and settings.weights_sha256:
        raise UserError("weights_sha256 is stated, but weights is random: leave one of them out")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.weights_seed)
        if settings.model.startswith(TIMM):
            return _timm(settings)
        return _open_clip(settings)


def _checked(settings: VitSettings, path: str | Path) -> str:
    """SHA-256 of the weights file.

    Raises:
        UserError: it isn't the one that the settings state.
    """
    found = sha256_file(path)
    if settings.weights_sha256 not in (None, found):
        raise UserError(
            f"the weights {path} have SHA-256 {found}, not {settings.weights_sha256} as "
            f"weights_sha256 says: get the right file, or correct the setting"
        )
    return found


def _open_clip(settings: VitSettings) -> Loaded:
    # Building CLIP whole would make its text tower too, only to throw it away.
    from open_clip.model import _build_vision_tower

    config, preprocess = _open_clip_config(settings)
    vision = dict(config["vision_cfg"])
    is_timm = "timm_model_name" in vision
    if is_timm:
        vision["timm_model_pretrained"] = False
    elif settings.image_size:
        vision["image_size"] = settings.image_size
    try:
        module = _build_vision_tower(config["embed_dim"], vision, config.get("quick_gelu", False))
    except (TypeError, KeyError, AssertionError, RuntimeError) as error:
        raise UserError(f"model: open_clip can't build {settings.model}: {error}") from error
    _require_vit(module.trunk if is_timm else module, settings.model)
    source = _open_clip_weights(settings)
    sha256 = None
    if source is not None:
        sha256 = _checked(settings, source)
        state = _visual(read_state_dict(source))
        if not is_timm:
            _resample_positions(state, module)
        load_strictly(module, state, str(source), settings.model)
    if is_timm and settings.image_size:
        module.set_input_size(settings.image_size)
    if not is_timm:
        module.output_tokens = False
    size, patch = _square(module.image_size, settings), _patch(module)
    geometry = Geometry(
        image_size=size,
        resize_mode=preprocess["resize_mode"],
        resize_size=size,
        interpolation=_interpolation(preprocess["interpolation"], settings),
        mean=tuple(preprocess["mean"]),
        std=tuple(preprocess["std"]),
        patch_size=patch,
        grid=(size // patch, size // patch),
    )
    return Loaded(module, geometry, sha256)


def _open_clip_config(settings: VitSettings) -> tuple[dict[str, Any], dict[str, Any]]:
    """The model's configuration, and how its input is made."""
    from open_clip import get_model_config, list_models
    from open_clip.factory import _get_hf_config
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    preprocess: dict[str, Any] = {}
    if settings.model.endswith(".json"):
        config = read_json(settings.model)
    elif settings.model.startswith(HUB):
        name = settings.model.removeprefix(HUB)
        config = from_hub(settings.model, lambda: _get_hf_config(name))
    else:
        config = copy.deepcopy(get_model_config(settings.model))
        if config is None:
            raise UserError(f"model: {_unknown(settings.model, list_models())}")
        preprocess, quick_gelu = _of_tags(settings)
        if quick_gelu is not None:
            config["quick_gelu"] = quick_gelu
    if "model_cfg" in config:
        preprocess, config = config.get("preprocess_cfg", {}), config["model_cfg"]
    missing = [key for key in ("embed_dim", "vision_cfg") if key not in config]
    if missing:
        raise UserError(f"model: {settings.model} is no open_clip configuration: no {missing[0]}")
    return config, merge_preprocess_dict(PreprocessCfg(), preprocess)


def _of_tags(settings: VitSettings) -> tuple[dict[str, Any], bool | None]:
    """What open_clip's tags say of the input, and whether the tower has QuickGELU (None: unsaid).

    A tag knows how its weights were trained; the model's name may say otherwise (`ViT-L-14` with
    `openai`). For a file without `like`, it is what all tags of the model agree on.
    """
    from open_clip import get_pretrained_cfg, list_pretrained_tags_by_model

    tags = list_pretrained_tags_by_model(settings.model)
    tag = settings.weights if settings.like is None else settings.like
    if tag in tags:
        config = get_pretrained_cfg(settings.model, tag)
        return config, config.get("quick_gelu")
    if settings.like is not None:
        raise UserError(
            f"like: {settings.like!r} is no tag of {settings.model}; its tags: "
            f"{', '.join(tags) or 'none'}"
        )
    keys = ("mean", "std", "interpolation", "resize_mode")
    found: dict[str, list[str]] = {}
    for name in tags:
        config = get_pretrained_cfg(settings.model, name)
        kept = {key: config[key] for key in keys if config.get(key) is not None}
        found.setdefault(json.dumps(kept, sort_keys=True), []).append(name)
    if len(found) > 1 and settings.weights != "random":
        groups = "; ".join(f"{text}: {', '.join(names)}" for text, names in found.items())
        raise UserError(
            f"weights: {settings.weights} doesn't say how its input was made, and the tags of "
            f"{settings.model} differ ({groups}). Name one that was trained as it was in `like`"
        )
    return (json.loads(next(iter(found))) if len(found) == 1 else {}), None


def _open_clip_weights(settings: VitSettings) -> Path | None:
    """The file of the weights, fetched if need be; None for random ones."""
    from open_clip import get_pretrained_cfg, list_pretrained_tags_by_model
    from open_clip.pretrained import download_pretrained, download_pretrained_from_hf

    weights = settings.weights
    if weights == "random":
        return None
    if weights is None:
        name = settings.model.removeprefix(HUB)
        return Path(from_hub(settings.model, lambda: download_pretrained_from_hf(name)))
    if is_file_name(weights):
        return Path(weights)
    config = get_pretrained_cfg(settings.model, weights)
    if not config:
        tags = list_pretrained_tags_by_model(settings.model)
        raise UserError(
            f"weights: {weights!r} is neither a file ({', '.join(WEIGHT_FILES)}) nor a tag of "
            f"{settings.model}; its tags: {', '.join(tags) or 'none'}; or random"
        )
    what = f"the weights {weights!r} of {settings.model}"
    return Path(from_hub(what, lambda: download_pretrained(config)))


def _visual(state: StateDict) -> StateDict:
    """The image tower's part of a whole CLIP; all of a file that holds the tower alone."""
    part = {k.removeprefix("visual."): v for k, v in state.items() if k.startswith("visual.")}
    return part or state


def _resample_positions(state: StateDict, module: nn.Module) -> None:
    from open_clip.model import resize_pos_embed

    if "positional_embedding" in state:
        held = {"visual.positional_embedding": state["positional_embedding"]}
        resize_pos_embed(held, SimpleNamespace(visual=module))
        state["positional_embedding"] = held["visual.positional_embedding"]


def _timm(settings: VitSettings) -> Loaded:
    import timm

    name = settings.model.removeprefix(TIMM)
    weights = settings.weights or ""
    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        raise UserError(
            f"model: {_unknown(settings.model, [TIMM + m for m in timm.list_models()])}"
        )
    from_file = is_file_name(weights)
    from_tag = not from_file and weights != "random"
    if from_tag:
        tags = [m.partition(".")[2] for m in timm.list_pretrained(f"{architecture}.*")]
        if weights not in tags:
            raise UserError(
                f"weights: {weights!r} is neither a file ({', '.join(WEIGHT_FILES)}) nor a tag of "
                f"{settings.model}; its tags: {', '.join(tags) or 'none'}; or random"
            )
        if settings.weights_sha256:
            raise UserError(
                f"weights_sha256 can't be checked for timm's tag {weights!r}, which isn't one file: "
                f"leave it out, or name a file in weights"
            )
        name = f"{architecture}.{weights}"
    arguments: dict[str, Any] = {"num_classes": 0}
    if settings.image_size:
        arguments["img_size"] = settings.image_size

    def create() -> nn.Module:
        try:
            return timm.create_model(name, pretrained=from_tag, **arguments)
        except TypeError:
            # Towers without img_size (no ViT) say so by name below.
            return timm.create_model(name, pretrained=False, num_classes=0)

    module = (
        from_hub(f"the weights {weights!r} of {settings.model}", create) if from_tag else create()
    )
    _require_vit(module, settings.model)
    sha256 = None
    if from_file:
        sha256 = _checked(settings, weights)
        state = sys.modules[type(module).__module__].checkpoint_filter_fn(
            read_state_dict(weights), module
        )
        # The classifier isn't part of the tower.
        state = {k: v for k, v in state.items() if not k.startswith(("head.", "head_dist."))}
        load_strictly(module, state, weights, settings.model)
    config = timm.data.resolve_model_data_config(module)
    size = _square(settings.image_size or config["input_size"][1:], settings)
    patch = _patch(module)
    modes: dict[str, Any] = {"center": "shortest", "squash": "squash"}
    if config["crop_mode"] not in modes:
        raise UserError(
            f"{settings.model} crops by {config['crop_mode']!r}, which can't be recorded"
        )
    geometry = Geometry(
        image_size=size,
        resize_mode=modes[config["crop_mode"]],
        resize_size=int(size / config["crop_pct"]),
        interpolation=_interpolation(config["interpolation"], settings),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        patch_size=patch,
        grid=(size // patch, size // patch),
    )
    return Loaded(module, geometry, sha256)


def _require_vit(module: nn.Module, model: str) -> None:
    from open_clip.transformer import VisionTransformer
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer as TimmVisionTransformer

    if not isinstance(module, (VisionTransformer, TimmVisionTransformer, Eva)):
        raise UserError(
            f"model: {model} is a {type(module).__name__}, not a vision transformer with blocks; allowed "
            f"are open_clip's VisionTransformer and timm's VisionTransformer and Eva"
        )


def _patch(module: nn.Module) -> int:
    trunk: Any = getattr(module, "trunk", module)
    size = trunk.patch_embed.patch_size if hasattr(trunk, "patch_embed") else trunk.patch_size
    if size[0] != size[1]:
        raise UserError(f"patches of {size[0]} × {size[1]} pixels aren't square: not supported")
    return int(size[0])


def _square(size: Any, settings: VitSettings) -> int:
    height, width = (size, size) if isinstance(size, int) else size
    if height != width:
        raise UserError(
            f"{settings.model} sees {height} × {width} pixels; only squares are supported"
        )
    return int(height)


def _interpolation(name: str, settings: VitSettings) -> Any:
    if name not in RESAMPLING:
        raise UserError(
            f"{settings.model} is made for pictures resized by {name!r}; supported are "
            f"{', '.join(RESAMPLING)}"
        )
    return name


def _unknown(name: str, known: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return (
        f"there is no {name!r}{hint} Allowed are open_clip's names, {HUB}owner/name, {TIMM}name, or "
        f"the path of a .json configuration"
    )
