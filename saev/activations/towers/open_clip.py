"""Towers of open_clip: by name, `hf-hub:owner/name` or configuration file. Some wrap timm's."""

import math
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from saev.activations.towers.backbone import (
    Backbone,
    Outputs,
    UnknownModel,
    geometry_of,
    not_recordable,
)
from saev.activations.towers.tags import agreed, choose
from saev.activations.towers.timm import blocks_of
from saev.activations.towers.unpickled import StateDict, read_tensors
from saev.activations.towers.weights import (
    WeightsFile,
    commit_of,
    from_hub,
    is_file_name,
    load_strictly,
    no_such_tag,
    only_checking,
    read_weights,
    say_resampled,
    weights_file,
)
from saev.core.errors import UserError
from saev.core.files import read_json, sha256_bytes
from saev.settings.vit import VitSettings

HUB = "hf-hub:"
NOT_DECIDED = ("url", "hf_hub", "file")
"""Keys of a tag that say where its weights lie. All other keys say how to use them."""
KNOWN_PATCHES = {
    "ea15a1d4d1a57cb170452bfac3398141fe51a3f19f70ce0b661e304b62f93e18": ("ViT-B-16", "openai"),
}
"""Published towers by the SHA-256 of their patch embedding in float16, whatever their file."""
PATCHES = ("conv1.weight", "embeddings.patch_embedding.weight")
"""Names of the patch embedding, in open_clip and in transformers."""
QUICK = "quick_gelu"
SHORTEST = 8
"""Hex digits of a SHA-256 that open_clip's file names end with."""
SMALLEST_TEXT = {"context_length": 1, "vocab_size": 1, "width": 1, "heads": 1, "layers": 1}
"""The smallest text tower. open_clip can't build a CLIP without one."""


class OpenClip(Backbone):
    """A VisionTransformer of open_clip, or its adapter for a timm tower."""

    prefix: ClassVar[str] = ""

    @classmethod
    def build(cls, settings: VitSettings) -> Self:
        weights = settings.weights or ""
        source = weights_file(weights, settings.weights_sha256) if is_file_name(weights) else None
        config, preprocess, commit = read_config(settings, source)
        if source is not None:
            _require_activation(settings, source, config)
        module = _vision_tower(config, settings)
        trunk = getattr(module, "trunk", None)
        if trunk is None:
            module.output_tokens = False
        else:
            blocks_of(trunk, settings.model)
        source = source or fetched(settings, commit)
        if source is not None:
            own = module.state_dict()
            state = read_weights(source.path, own)
            if trunk is None:
                _resample_positions(state, module, source.path)
            elif all(f"trunk.{name}" in own for name in state):
                # The file is the trunk's own.
                state = {f"trunk.{name}": value for name, value in state.items()}
            load_strictly(module, state, str(source.path), settings.model)
        sha256, commit = (source.sha256, source.commit) if source else (None, None)
        if trunk is None:
            geometry = geometry_of(
                settings.model,
                module.image_size,
                module.patch_size,
                preprocess,
                grid=module.grid_size,
            )
            return cls(module, geometry, len(module.transformer.resblocks), True, sha256, commit)
        if settings.image_size:
            module.set_input_size(settings.image_size)
        blocks = blocks_of(trunk, settings.model)
        geometry = geometry_of(
            settings.model, module.image_size, blocks.patch_size, preprocess, grid=blocks.grid
        )
        return cls(module, geometry, blocks.n, blocks.has_class_token, sha256, commit)

    def outputs(self, inputs: Tensor, layers: tuple[int, ...], pooled: bool) -> Outputs:
        module: Any = self.module
        found = module.forward_intermediates(
            inputs,
            indices=list(layers),
            stop_early=not pooled,
            intermediates_only=not pooled,
            output_fmt="NLC",
            output_extra_tokens=True,
        )
        cls = None
        if self.has_class_token:
            # It comes first; registers may follow.
            cls = [prefix[:, 0] for prefix in found["image_intermediates_prefix"]]
        output = found["image_features"] if pooled else None
        return Outputs(found["image_intermediates"], cls, output)


def _vision_tower(config: dict[str, Any], settings: VitSettings) -> Any:
    """The image tower with random weights.

    Raises:
        UserError: the configuration is wrong, or isn't of a vision transformer.
    """
    from open_clip import CLIP
    from open_clip.transformer import VisionTransformer

    vision = dict(config["vision_cfg"])
    if "timm_model_name" in vision:
        vision["timm_model_pretrained"] = False
    elif settings.image_size:
        vision["image_size"] = settings.image_size
    quick_gelu = config.get("quick_gelu", False)
    try:
        module: Any = CLIP(config["embed_dim"], vision, SMALLEST_TEXT, quick_gelu).visual
    except (TypeError, KeyError, AssertionError, RuntimeError) as error:
        raise UserError(f"model: open_clip can't build {settings.model}: {error}") from error
    if not hasattr(module, "trunk") and not isinstance(module, VisionTransformer):
        raise not_recordable(module, settings.model)
    return module


def read_config(
    settings: VitSettings, source: WeightsFile | None
) -> tuple[dict[str, Any], dict[str, Any], str | None]:
    """The model's configuration, its preprocessing, and the commit of its repository on the hub."""
    from open_clip import get_model_config, list_models
    from open_clip.pretrained import download_pretrained_from_hf
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    preprocess: dict[str, Any] = {}
    commit = None
    if settings.model.endswith(".json"):
        config = read_json(settings.model)
    elif settings.model.startswith(HUB):
        name, _, revision = settings.model.removeprefix(HUB).partition("@")
        file, at = "open_clip_config.json", revision or None
        path = from_hub(
            settings.model, lambda: download_pretrained_from_hf(name, filename=file, revision=at)
        )
        config, commit = read_json(path), commit_of(Path(path)) or at
    else:
        config = get_model_config(settings.model)
        if config is None:
            raise UnknownModel(list_models())
        by_name = bool(config.get("quick_gelu"))
        preprocess, quick_gelu = of_tags(settings, by_name, published(settings, source))
        config["quick_gelu"] = quick_gelu
    if "model_cfg" in config:
        preprocess, config = config.get("preprocess_cfg", {}), config["model_cfg"]
    missing = [key for key in ("embed_dim", "vision_cfg") if key not in config]
    if missing:
        raise UserError(
            f"model: {settings.model} isn't an open_clip configuration: it has no {missing[0]}"
        )
    return config, merge_preprocess_dict(PreprocessCfg(), preprocess), commit


def of_tags(
    settings: VitSettings, by_name: bool, known: str | None = None
) -> tuple[dict[str, Any], bool]:
    """Preprocessing of the weights, and whether they use QuickGELU, by open_clip's tags.

    The tag decides, even against the model's name (`ViT-L-14` with `openai`).

    Args:
        settings: settings of the tower.
        by_name: whether the model's own configuration has QuickGELU.
        known: the tag whose file the weights are, if `published` recognised them.

    Raises:
        UserError: the tags differ, or `like` or `weights` isn't one of them.
    """
    tags = decided(settings.model, by_name)
    known = known or _by_sha256(settings.model, settings.weights_sha256)
    tag = choose(settings, tags, known)
    if tag is None:
        neutral = settings.weights == "random" and tags
        same = neutral and all(
            agreed(tags, key) for one in tags.values() for key in one if key != QUICK
        )
        tag = next(iter(tags)) if same else None
        return {k: v for k, v in tags[tag].items() if k != QUICK} if tag else {}, by_name
    of_tag = dict(tags[tag])
    return of_tag, of_tag.pop(QUICK)


def decided(model: str, by_name: bool) -> dict[str, dict[str, Any]]:
    """What each tag of a model decides, besides the weights."""
    from open_clip import get_pretrained_cfg, list_pretrained_tags_by_model

    configs = {tag: get_pretrained_cfg(model, tag) for tag in list_pretrained_tags_by_model(model)}
    return {
        tag: {k: v for k, v in config.items() if k not in NOT_DECIDED and v is not None}
        | {QUICK: bool(config.get(QUICK, by_name))}
        for tag, config in configs.items()
    }


def published(settings: VitSettings, source: WeightsFile | None) -> str | None:
    """The tag of the model whose weights a file holds, by its SHA-256 or its patch embedding."""
    if source is None or not is_file_name(settings.weights or ""):
        return None
    tag = _by_sha256(settings.model, source.sha256)
    if tag is None:
        model, tag = _by_patches(source.path) or (None, None)
        # The same tower goes by two names, with and without QuickGELU.
        return tag if model == settings.model.removesuffix("-quickgelu") else None
    return tag


def _require_activation(settings: VitSettings, source: WeightsFile, config: dict[str, Any]) -> None:
    """Refuse a configuration file with another activation function than published weights need."""
    if not settings.model.endswith(".json"):
        return
    known = _by_patches(source.path)
    if known is None:
        return
    needed, has = decided(known[0], False)[known[1]][QUICK], bool(config.get(QUICK, False))
    if needed != has:
        raise UserError(
            f"model: {settings.model} has quick_gelu {has}, but {source.path} holds the weights "
            f"{known[1]} of {known[0]}, which need quick_gelu {needed}: correct it"
        )


def _by_sha256(model: str, sha256: str | None) -> str | None:
    """The tag whose file has this SHA-256. open_clip knows (the start of) it for some tags."""
    from open_clip import get_pretrained_cfg, list_pretrained_tags_by_model

    for tag in list_pretrained_tags_by_model(model) if sha256 else ():
        url = get_pretrained_cfg(model, tag).get("url", "")
        folder, _, file = url.rpartition("/")
        stated = file.rpartition("-")[2].partition(".")[0] if "mlfoundations" in url else ""
        if sha256 == folder.rpartition("/")[2] or (
            len(stated) >= SHORTEST and str(sha256).startswith(stated)
        ):
            return tag
    return None


def _by_patches(path: Path) -> tuple[str, str] | None:
    """Model and tag of a published tower, by its patch embedding."""
    with torch.device("cpu"):
        state = read_tensors(path)
        ends = [name for name in state if name.endswith(PATCHES)]
        if len(ends) != 1:
            return None
        patches = state[ends[0]]
        if not patches.is_floating_point() or patches.layout != torch.strided:
            return None
        return KNOWN_PATCHES.get(sha256_bytes(patches.half().contiguous().numpy().tobytes()))


def fetched(settings: VitSettings, commit: str | None) -> WeightsFile | None:
    """The weights file of a tag or a repository, downloaded if necessary; None for random weights.

    Args:
        settings: settings of the tower.
        commit: commit of the repository that the configuration comes from.
    """
    from open_clip import download_pretrained, get_pretrained_cfg
    from open_clip.pretrained import download_pretrained_from_hf

    weights = settings.weights
    if weights == "random" or only_checking():
        return None
    if weights is None:
        name = settings.model.removeprefix(HUB).partition("@")[0]
        path = from_hub(settings.model, lambda: download_pretrained_from_hf(name, revision=commit))
    else:
        config = get_pretrained_cfg(settings.model, weights)
        if not config:
            raise no_such_tag(weights, settings.model, [])
        what = f"the weights {weights!r} of {settings.model}"
        path = from_hub(what, lambda: download_pretrained(config))
    return weights_file(path, settings.weights_sha256)


def _resample_positions(state: StateDict, module: Any, path: Path) -> None:
    """Resample the positions in ``state`` to the tower's grid.

    Does the same as open_clip's `resize_pos_embed`. That one isn't used because it also logs, which
    would set up logging for the whole program.
    """
    rows, columns = module.grid_size
    held = state.get("positional_embedding")
    if held is None or len(held) == 1 + rows * columns:
        return
    side = math.isqrt(len(held) - 1)
    if side * side != len(held) - 1:
        return  # not a square grid: loading refuses the shape
    grid = held[1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    grid = nn.functional.interpolate(
        grid, (rows, columns), mode="bicubic", antialias=True, align_corners=False
    )
    state["positional_embedding"] = torch.cat([held[:1], grid.flatten(2)[0].T])
    say_resampled(path, len(held), 1 + rows * columns)
