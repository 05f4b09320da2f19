"""Towers of timm: `timm/NAME`."""

from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self
from urllib.parse import urlparse

import torch.hub
from torch import Tensor, nn

from saev.activations.towers.backbone import (
    Backbone,
    Outputs,
    UnknownModel,
    geometry_of,
    not_recordable,
)
from saev.activations.towers.names import under
from saev.activations.towers.tags import choose
from saev.activations.towers.unpickled import StateDict, first_line
from saev.activations.towers.weights import (
    WeightsFile,
    from_hub,
    is_file_name,
    load_strictly,
    only_checking,
    read_weights,
    say_resampled,
    weights_file,
)
from saev.core.errors import UserError
from saev.settings.near import did_you_mean
from saev.settings.vit import VitSettings

RESIZE_MODES = {"center": "shortest", "squash": "squash"}
"""What `Geometry` calls timm's ways to crop."""
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
"""Names of weights files in timm's repositories, the preferred one first."""
PATCHES = ("patch_embed.proj.weight", "conv1.weight", "patch_embedding.weight")
"""Names of the patch embedding in files that timm reads."""
POSITIONS = ("pos_embed", "positional_embedding")
"""Names of the positions there; timm's own comes first."""
CLASSIFIERS = ("head.", "head_dist.")
"""Prefixes of tensors that don't belong to a tower."""


DECIDED = (
    "mean",
    "std",
    "interpolation",
    "crop_pct",
    "crop_mode",
    "input_size",
)
"""What a tag says about the input that its weights expect."""
QUICK = "quickgelu"
"""In names of models with QuickGELU, and in timm's notes on weights that were trained with it."""


class Timm(Backbone):
    """A VisionTransformer or Eva of timm."""

    prefix: ClassVar[str] = "timm/"

    @classmethod
    def build(cls, settings: VitSettings) -> Self:
        import timm

        architecture, _, named = settings.model.removeprefix(cls.prefix).partition(".")
        if not timm.is_model(architecture):
            raise UnknownModel([cls.prefix + name for name in timm.list_models()])
        tag = _tag(architecture, named, settings)
        name = f"{architecture}.{tag}" if tag else architecture
        module = _create(name, settings)
        blocks = blocks_of(module, settings.model)
        source = _source(name, settings)
        if source is not None:
            _load(module, source.path, settings.model)
        config = timm.data.resolve_model_data_config(module)
        if config["crop_mode"] not in RESIZE_MODES:
            raise UserError(
                f"{settings.model} crops by {config['crop_mode']!r}, which can't be recorded"
            )
        geometry = geometry_of(
            settings.model,
            settings.image_size or config["input_size"][1:],
            blocks.patch_size,
            config | {"resize_mode": RESIZE_MODES[config["crop_mode"]]},
            config["crop_pct"],
            blocks.grid,
        )
        return cls(module, geometry, blocks.n, blocks.has_class_token, *_known(source))

    def outputs(self, inputs: Tensor, layers: tuple[int, ...], pooled: bool) -> Outputs:
        module: Any = self.module
        found = module.forward_intermediates(
            inputs,
            indices=list(layers),
            return_prefix_tokens=self.has_class_token,
            stop_early=not pooled,
            output_fmt="NLC",
            intermediates_only=not pooled,
        )
        output = None
        if pooled:
            final, found = found
            output = module.forward_head(final)
        if not isinstance(found[0], tuple):
            return Outputs(found, None, output)
        # The class token comes first; registers may follow.
        cls = [prefix[:, 0] for _, prefix in found] if self.has_class_token else None
        return Outputs([patches for patches, _ in found], cls, output)


def _known(source: WeightsFile | None) -> tuple[str | None, str | None]:
    """SHA-256 and commit of a tower's weights."""
    return (None, None) if source is None else (source.sha256, source.commit)


class Blocks(NamedTuple):
    """What a timm tower tells without running it."""

    n: int
    has_class_token: bool
    patch_size: tuple[int, int]
    grid: tuple[int, int]
    """Rows and columns of patches."""


def blocks_of(module: Any, model: str) -> Blocks:
    """Describe a timm tower.

    Raises:
        UserError: it isn't a vision transformer.
    """
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer

    if not isinstance(module, (VisionTransformer, Eva)):
        raise not_recordable(module, model)
    embed = module.patch_embed
    rows, columns = grid = tuple(embed.grid_size)
    height, width = embed.img_size
    # After a convolutional stem, timm counts the size of a patch in the stem's output.
    of_stem = hasattr(embed, "backbone")
    patch_size = (height // rows, width // columns) if of_stem else tuple(embed.patch_size)
    return Blocks(len(module.blocks), module.cls_token is not None, patch_size, grid)


def _create(name: str, settings: VitSettings) -> nn.Module:
    """A model with random weights.

    Raises:
        UserError: timm can't build it with these settings.
    """
    import timm

    size: dict[str, Any] = {"img_size": settings.image_size} if settings.image_size else {}
    try:
        return timm.create_model(name, num_classes=0, **size)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        if size:
            # A model that isn't a vision transformer takes no img_size: say what it is, not that.
            without = settings.model_copy(update={"image_size": None})
            blocks_of(_create(name, without), settings.model)
        at = f" at image_size {settings.image_size}" if size else ""
        raise UserError(
            f"model: timm can't build {settings.model}{at}: {first_line(error)}"
        ) from error


def _tag(architecture: str, named: str, settings: VitSettings) -> str | None:
    """The tag whose preprocessing and activation function the tower uses; None for the model's own.

    Args:
        architecture: name of the model, without a tag.
        named: the tag in the model's name (`timm/MODEL.TAG`), or nothing.
        settings: settings of the tower.

    Raises:
        UserError: see `choose`; or its weights need another activation function than the model has.
    """
    import timm

    tags = {
        name.partition(".")[2]: _decided(timm.get_pretrained_cfg(name))
        for name in timm.list_pretrained(f"{architecture}.*")
    }
    if named and named not in tags:
        raise UserError(
            f"model: timm/{architecture} has no tag {named!r}; its tags: "
            f"{', '.join(tags) or 'none'}{did_you_mean(named, list(tags))}"
        )
    if named:
        given = settings.like or (None if _is_own(settings.weights) else settings.weights)
        if given not in (None, named):
            raise UserError(
                f"model: {settings.model} names the tag {named}, not {given}: leave one out"
            )
        settings = settings.model_copy(update={"like": named})
    tag = choose(settings, tags)
    if tag is not None and tags[tag]["quick_gelu"] and QUICK not in architecture:
        quick = architecture.replace("_clip_", f"_clip_{QUICK}_")
        raise UserError(
            f"model: {settings.model} computes GELU, but the weights of {tag} need QuickGELU: "
            + (
                f"use timm/{quick}"
                if timm.is_model(quick)
                else "use open_clip's model of this kind"
            )
        )
    return tag


def _is_own(weights: str | None) -> bool:
    return weights in (None, "random") or is_file_name(str(weights))


def _decided(config: Any) -> dict[str, Any]:
    """What a tag decides, besides the weights."""
    notes = str(config.notes).lower()
    return {key: getattr(config, key) for key in DECIDED} | {"quick_gelu": QUICK in notes}


def _source(name: str, settings: VitSettings) -> WeightsFile | None:
    """The weights file, downloaded if need be; None for random weights, or without downloads."""
    weights = settings.weights
    if weights in (None, "random"):
        return None
    if is_file_name(str(weights)):
        return weights_file(str(weights), settings.weights_sha256)
    if only_checking():
        return None
    path = from_hub(f"the weights {weights!r} of {settings.model}", lambda: _download(name))
    return weights_file(path, settings.weights_sha256)


def _download(name: str) -> Path:
    """The file of a tag, as timm finds it."""
    import timm
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    config: Any = timm.get_pretrained_cfg(name)
    if not config.hf_hub_id:
        return _from_url(config.url)
    repository, _, revision = config.hf_hub_id.partition("@")
    files = [config.hf_hub_filename] if config.hf_hub_filename else list(HUB_FILES)
    for file in files[:-1]:
        with suppress(EntryNotFoundError):
            return Path(hf_hub_download(repository, file, revision=revision or None))
    return Path(hf_hub_download(repository, files[-1], revision=revision or None))


def _from_url(url: str) -> Path:
    """A file that PyTorch's cache keeps. Some names end in the first digits of its SHA-256."""
    name = Path(urlparse(url).path).name
    path = Path(torch.hub.get_dir(), "checkpoints", name)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        digits = torch.hub.HASH_REGEX.search(name)
        torch.hub.download_url_to_file(url, str(path), digits[1] if digits else None, False)
    return path


def _load(module: nn.Module, path: Path, model: str) -> None:
    from timm.models import eva, vision_transformer

    of = eva if isinstance(module, eva.Eva) else vision_transformer
    state = read_weights(path, module.state_dict())
    roots = [name for name in state if name.endswith("class_embedding")]
    if len(roots) == 1:
        # A CLIP of open_clip, which timm expects under this prefix.
        root = roots[0].removesuffix("class_embedding").rstrip(".")
        state = {f"visual.{name}": value for name, value in under(state, root).items()}
    _require_patches(module, state, path, model)
    positions = next((v for k, v in state.items() if k.endswith(POSITIONS)), None)
    try:
        # Translates names of other projects and resamples positions.
        state = of.checkpoint_filter_fn(state, module)
    except Exception as error:
        # timm computes with the shapes before it looks at them, for classes of tokens as well.
        raise UserError(
            f"the weights {path} don't fit the model {model}: {first_line(error)}. Use weights of "
            f"exactly this model (same width, blocks, patch size, class token and registers)"
        ) from error
    used = state.get(POSITIONS[0])
    if positions is not None and used is not None and used.numel() != positions.numel():
        say_resampled(path, positions.numel() // used.shape[-1], used.shape[-2])
    state = {name: value for name, value in state.items() if not name.startswith(CLASSIFIERS)}
    load_strictly(module, state, str(path), model)


def _require_patches(module: Any, state: StateDict, path: Path, model: str) -> None:
    """Refuse weights of another patch size, which timm would resample in silence.

    Raises:
        UserError: the patch size differs.
    """
    own = getattr(getattr(module.patch_embed, "proj", None), "weight", None)
    for name, value in state.items():
        if name.endswith(PATCHES) and value.ndim == 4 and own is not None and own.ndim == 4:
            has, needs = tuple(value.shape[2:]), tuple(own.shape[2:])
            if has != needs:
                raise UserError(
                    f"the weights {path} don't fit the model {model}: their patches have "
                    f"{has[0]} × {has[1]} pixels, those of the model {needs[0]} × {needs[1]}"
                )
