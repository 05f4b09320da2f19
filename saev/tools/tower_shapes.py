"""Shapes of towers, as far as they are known before a tower is loaded."""

from pathlib import Path
from typing import Any, NamedTuple

from saev.core.errors import UserError
from saev.settings.vit import VitSettings
from saev.tools import tree
from saev.workflow.known_towers import vision_config
from saev.workflow.plan import Plan


class Shape(NamedTuple):
    """Shape of a tower: blocks, width of a token, patches per image, width of its output."""

    blocks: int | None
    width: int | None
    patches: int | None
    pooled: int | None


def n_layers(settings: VitSettings, shape: Shape) -> int | None:
    """Number of distinct blocks to record (−1 and the last block are the same)."""
    layers = settings.layers
    if shape.blocks is not None:
        return len({layer % shape.blocks for layer in layers})
    return len(layers) if all(layer >= 0 for layer in layers) else None


def tower_shape(plan: Plan, vit: str) -> Shape:
    """Shape of a tower, from a recording of the same tower or from open_clip's configuration."""
    settings, identity = plan.settings("vit", vit), plan.identity("vit", vit)
    for folder in recordings(Path(plan.results)):
        known = recorded(folder)
        if known and same_tower(known["settings"], identity):
            return _shape_of(known["tower"], settings)
    return _configured(settings)


def _configured(settings: VitSettings) -> Shape:
    config = vision_config(settings.model)
    if "timm_model_name" in config:
        return Shape(None, None, None, None)
    side, patch = settings.image_size or config.get("image_size"), config.get("patch_size")
    patches = (side // patch) ** 2 if isinstance(side, int) and isinstance(patch, int) else None
    names = ("layers", "width", "embed_dim")
    blocks, width, pooled = (_whole(config.get(name)) for name in names)
    return Shape(blocks, width, patches, pooled)


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _shape_of(tower: dict[str, Any], settings: VitSettings) -> Shape:
    widths = {s["kind"]: s["d"] for s in tower["streams"].values()}
    rows, columns = tower["geometry"]["grid"]
    other = _configured(settings)
    width = widths.get("patches", widths.get("cls", other.width))
    return Shape(tower["n_blocks"], width, rows * columns, widths.get("pooled", other.pooled))


def same_tower(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether the settings of two recordings name the same tower."""
    names = ("model", "model_sha256", "image_size")
    return all(a.get(name) == b.get(name) for name in names)


def recordings(results: Path) -> list[Path]:
    """All directories of recordings, complete or not."""
    if not results.is_dir():
        return []
    return [vit for images in tree.children(results) for vit in tree.children(images)]


def recorded(folder: Path) -> dict[str, Any] | None:
    """Settings and tower of a complete recording."""
    try:
        meta = tree.read(folder, "activations")
        summary = meta["summary"]
        tower = {key: summary[key] for key in ("streams", "geometry", "n_blocks")}
        return {"settings": meta["settings"], "tower": tower}
    except (UserError, KeyError):
        return None
