"""One call for all vision transformers: pixels in, activations by stream out."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from saev.activations.artifact import Stream
from saev.activations.towers.backbone import Backbone
from saev.activations.towers.kinds import build
from saev.activations.towers.precision import Precision, computing, narrowed
from saev.core.errors import UserError
from saev.core.typed import typed
from saev.images.geometry import Geometry
from saev.settings.vit import VitSettings


@dataclass(frozen=True)
class Tower:
    """A tower in evaluation mode, and what to record from it. Made by `load_tower`."""

    model: str
    backbone: Backbone
    layers: tuple[int, ...]
    """Blocks whose output to record, counted from 0, ascending."""
    streams: tuple[Stream, ...]
    device: torch.device
    precision: Precision = "float32"

    @property
    def geometry(self) -> Geometry:
        """How an image becomes its input."""
        return self.backbone.geometry

    @typed
    @torch.inference_mode()
    def __call__(self, pixels: UInt8[Tensor, "b h w 3"]) -> dict[str, Float[Tensor, "b ..."]]:
        """Run the blocks up to the deepest recorded one (all of them for ``pooled``).

        Args:
            pixels: (b, image_size, image_size, 3), as `Geometry.pixels` gives them.

        Returns:
            by name of the stream: (b, d) for ``cls`` and ``pooled``, (b, n_patches, d) for
                ``patches``,
            float32, on the tower's device. ``layer-i`` is the output of block i: the residual
            stream.
        """
        return self.forward(normalise(pixels.to(self.device), self.geometry))

    @torch.inference_mode()
    def forward(self, inputs: Float[Tensor, "b 3 h w"]) -> dict[str, Tensor]:
        """The same for normalised inputs."""
        with computing(self.device, self.precision):
            outputs = _outputs(self.backbone, inputs, self.layers, self._pooled)
        return {stream.name: outputs[stream.name].float() for stream in self.streams}

    @property
    def _pooled(self) -> bool:
        return any(stream.kind == "pooled" for stream in self.streams)

    def summary(self) -> dict[str, Any]:
        """What `meta.json` says about the tower."""
        return {
            "model": self.model,
            "weights_sha256": self.backbone.weights_sha256,
            "n_blocks": self.backbone.n_blocks,
            "layers": list(self.layers),
            "geometry": self.geometry.summary(),
            "streams": {
                s.name: {"d": s.d, "n_patches": s.n_patches, "kind": s.kind, "layer": s.layer}
                for s in self.streams
            },
        }

    def describe(self) -> str:
        """One line for the log: size, depth, input, streams."""
        parameters = sum(p.numel() for p in self.backbone.module.parameters())
        n_blocks = self.backbone.n_blocks
        last = n_blocks if self._pooled else max(self.layers) + 1
        rows, columns = self.geometry.grid
        exact = self.precision == "tf32" and self.device.type == "cpu"
        precision = "float32, as a CPU has no tf32" if exact else self.precision
        return (
            f"{self.model}: {parameters / 1e6:.1f} M parameters, {n_blocks} blocks ({last} run), "
            f"{self.geometry.image_size} px in {rows} × {columns} patches, on {self.device.type} "
            f"in {precision}, recording {', '.join(s.name for s in self.streams)}"
        )


def load_tower(settings: VitSettings, device: torch.device | str = "cpu") -> Tower:
    """Load the tower that ``settings`` name.

    Raises:
        UserError: the model, its weights, a layer or a token doesn't exist; says what is allowed.
    """
    device = torch.device(device)
    backbone = build(settings)
    backbone.module.eval().requires_grad_(False).to(device=device, dtype=torch.float32)
    if settings.precision == "bfloat16":
        narrowed(backbone.module)
    layers = resolve_layers(settings.layers, backbone.n_blocks, settings.model)
    if "cls" in settings.tokens and not backbone.has_class_token:
        raise UserError(
            f"tokens: {settings.model} has no class token, so there is no cls; use patches or "
            f"pooled"
        )
    streams = _probe(backbone, layers, settings, device)
    return Tower(settings.model, backbone, layers, streams, device, settings.precision)


def resolve_layers(layers: tuple[int, ...], n_blocks: int, model: str) -> tuple[int, ...]:
    """Turn ``layers`` into indices of blocks from 0, ascending, without duplicates.

    Raises:
        UserError: there is no such block.
    """
    for layer in layers:
        if not -n_blocks <= layer < n_blocks:
            raise UserError(
                f"layers: {layer} is out of range: {model} has {n_blocks} blocks, 0 to "
                f"{n_blocks - 1} (or -{n_blocks} to -1)"
            )
    return tuple(sorted({layer % n_blocks for layer in layers}))


def normalise(pixels: Tensor, geometry: Geometry) -> Tensor:
    """Convert pixels (b, h, w, 3) uint8 to inputs (b, 3, h, w) float32, as torchvision does."""
    values = pixels.permute(0, 3, 1, 2).contiguous().to(torch.float32).div(255)
    mean, std = (
        torch.tensor(numbers, dtype=torch.float32, device=pixels.device).view(-1, 1, 1)
        for numbers in (geometry.mean, geometry.std)
    )
    return values.sub_(mean).div_(std)


def _outputs(
    backbone: Backbone, inputs: Tensor, layers: tuple[int, ...], pooled: bool
) -> dict[str, Tensor]:
    """Outputs of blocks and of the tower, by stream name."""
    if not layers:
        return {"pooled": backbone.module(inputs)}
    found = backbone.outputs(inputs, layers, pooled)
    outputs = {} if found.pooled is None else {"pooled": found.pooled}
    for i, layer in enumerate(layers):
        outputs[f"layer-{layer:02}.patches"] = found.patches[i]
        if found.cls is not None:
            outputs[f"layer-{layer:02}.cls"] = found.cls[i]
    return outputs


def _probe(
    backbone: Backbone, layers: tuple[int, ...], settings: VitSettings, device: torch.device
) -> tuple[Stream, ...]:
    """Find the shapes of the streams by running one blank image."""
    side = backbone.geometry.image_size
    pooled = "pooled" in settings.tokens
    try:
        with torch.inference_mode(), computing(device, settings.precision):
            blank = torch.zeros(1, 3, side, side, device=device)
            outputs = _outputs(backbone, blank, layers, pooled)
    except AssertionError as error:
        raise UserError(
            f"model: {settings.model} can't see images of {side} × {side} pixels: {error}. "
            f"Set image_size to another side"
        ) from error
    streams = []
    for layer in layers:
        for kind in ("cls", "patches"):
            if kind in settings.tokens:
                name = f"layer-{layer:02}.{kind}"
                found = outputs[name]
                n_patches = found.shape[1] if kind == "patches" else 1
                streams.append(Stream(name, found.shape[-1], n_patches, kind, layer))
    if pooled:
        if outputs["pooled"].ndim != 2:
            raise UserError(
                f"tokens: the output of {settings.model} isn't one vector per image, so there is "
                f"no pooled; use cls or patches"
            )
        streams.append(Stream("pooled", outputs["pooled"].shape[-1], 1, "pooled", None))
    rows, columns = backbone.geometry.grid
    for stream in streams:
        if stream.kind == "patches" and stream.n_patches != rows * columns:
            raise UserError(
                f"{settings.model} gives {stream.n_patches} patches in block {stream.layer}, not "
                f"{rows} × {columns} as its input has: towers that drop or merge patches between "
                f"blocks can't be recorded"
            )
    return tuple(streams)
