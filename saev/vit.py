"""Vision transformers of open_clip and timm behind one call: pixels in, activations by stream out."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from saev.artifacts.activations import Stream
from saev.decode import Geometry
from saev.errors import UserError
from saev.settings.vit import VitSettings
from saev.towers import Loaded, load
from saev.typing import typed


@dataclass(frozen=True)
class Tower:
    """A tower in evaluation mode, and what is recorded of it. Made by `load_tower`."""

    model: str
    module: nn.Module
    geometry: Geometry
    n_blocks: int
    layers: tuple[int, ...]
    """Blocks whose output is recorded, from 0, ascending."""
    streams: tuple[Stream, ...]
    weights_sha256: str | None
    """None for random weights."""
    device: torch.device

    @typed
    @torch.inference_mode()
    def __call__(self, pixels: UInt8[Tensor, "b h w 3"]) -> dict[str, Float[Tensor, "b ..."]]:
        """Run the blocks up to the deepest one that is recorded (all of them for ``pooled``).

        Args:
            pixels: (b, image_size, image_size, 3), as `Geometry.pixels` gives them.

        Returns:
            by name of the stream: (b, d) for ``cls`` and ``pooled``, (b, n_patches, d) for ``patches``,
            float32, on the tower's device. ``layer-i`` is the output of block i: the residual stream.
        """
        return self.forward(normalise(pixels.to(self.device), self.geometry))

    @torch.inference_mode()
    def forward(self, inputs: Float[Tensor, "b 3 h w"]) -> dict[str, Tensor]:
        """The same for normalised inputs."""
        outputs = _intermediates(self.module, inputs, self.layers, self._pooled)
        return {stream.name: outputs[stream.name] for stream in self.streams}

    @property
    def _pooled(self) -> bool:
        return any(stream.kind == "pooled" for stream in self.streams)

    def summary(self) -> dict[str, Any]:
        """What `meta.json` says of the tower."""
        return {
            "model": self.model,
            "weights_sha256": self.weights_sha256,
            "n_blocks": self.n_blocks,
            "layers": list(self.layers),
            "geometry": self.geometry.summary(),
            "streams": {
                s.name: {"d": s.d, "n_patches": s.n_patches, "kind": s.kind, "layer": s.layer}
                for s in self.streams
            },
        }

    def describe(self) -> str:
        """One line for people: size, depth, input, what runs."""
        parameters = sum(p.numel() for p in self.module.parameters())
        last = self.n_blocks if self._pooled else max(self.layers) + 1
        rows, columns = self.geometry.grid
        return (
            f"{self.model}: {parameters / 1e6:.1f} M parameters, {self.n_blocks} blocks ({last} run), "
            f"{self.geometry.image_size} px in {rows} × {columns} patches, on {self.device.type}, "
            f"recording {', '.join(s.name for s in self.streams)}"
        )


def load_tower(settings: VitSettings, device: torch.device | str = "cpu") -> Tower:
    """Load the tower that ``settings`` name.

    Raises:
        UserError: the model, its weights, a layer or a token isn't there; says what is allowed.
    """
    device = torch.device(device)
    if device.type == "cuda":
        # TF32 has 10 bits of mantissa: as few as the type that is stored.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    loaded = load(settings)
    module = loaded.module.eval().requires_grad_(False).to(device=device, dtype=torch.float32)
    n_blocks = len(_blocks(module))
    layers = resolve_layers(settings.layers, n_blocks, settings.model)
    if "cls" in settings.tokens and not _has_class_token(module):
        raise UserError(
            f"tokens: {settings.model} has no class token, so there is no cls; use patches or pooled"
        )
    return Tower(
        model=settings.model,
        module=module,
        geometry=loaded.geometry,
        n_blocks=n_blocks,
        layers=layers,
        streams=_probe(loaded, module, layers, settings, device),
        weights_sha256=loaded.weights_sha256,
        device=device,
    )


def resolve_layers(layers: tuple[int, ...], n_blocks: int, model: str) -> tuple[int, ...]:
    """Indices of blocks from 0, ascending, each once.

    Raises:
        UserError: there is no such block.
    """
    for layer in layers:
        if not -n_blocks <= layer < n_blocks:
            raise UserError(
                f"layers: {layer} is out of range: {model} has {n_blocks} blocks, 0 to {n_blocks - 1} "
                f"(or -{n_blocks} to -1)"
            )
    return tuple(sorted({layer % n_blocks for layer in layers}))


def normalise(pixels: Tensor, geometry: Geometry) -> Tensor:
    """Pixels (b, h, w, 3) uint8 to inputs (b, 3, h, w) float32, as torchvision's ToTensor, Normalize."""
    values = pixels.permute(0, 3, 1, 2).contiguous().to(torch.float32).div(255)
    mean, std = (
        torch.tensor(numbers, dtype=torch.float32, device=pixels.device).view(-1, 1, 1)
        for numbers in (geometry.mean, geometry.std)
    )
    return values.sub_(mean).div_(std)


def _trunk(module: nn.Module) -> Any:
    """timm's own module, inside of open_clip's adapter or bare; else the module itself."""
    return getattr(module, "trunk", module)


def _blocks(module: nn.Module) -> Any:
    trunk = _trunk(module)
    return trunk.blocks if hasattr(trunk, "blocks") else trunk.transformer.resblocks


def _has_class_token(module: nn.Module) -> bool:
    trunk = _trunk(module)
    return getattr(trunk, "class_embedding", getattr(trunk, "cls_token", None)) is not None


def _intermediates(
    module: Any, inputs: Tensor, layers: tuple[int, ...], pooled: bool
) -> dict[str, Tensor]:
    """Outputs of blocks and of the tower, by name of the stream."""
    if not layers:
        return {"pooled": module(inputs)}
    arguments: dict[str, Any] = {
        "indices": list(layers),
        "stop_early": not pooled,
        "intermediates_only": not pooled,
        "output_fmt": "NLC",
    }
    outputs: dict[str, Tensor] = {}
    if hasattr(module, "trunk") or hasattr(module, "transformer"):
        found = module.forward_intermediates(inputs, output_extra_tokens=True, **arguments)
        patches = found["image_intermediates"]
        prefixes = found.get("image_intermediates_prefix")
        if pooled:
            outputs["pooled"] = found["image_features"]
    else:
        found = module.forward_intermediates(inputs, return_prefix_tokens=True, **arguments)
        if pooled:
            final, found = found
            outputs["pooled"] = module.forward_head(final)
        with_prefix = bool(found) and isinstance(found[0], tuple)
        patches = [f[0] for f in found] if with_prefix else found
        prefixes = [f[1] for f in found] if with_prefix else None
    for i, layer in enumerate(layers):
        outputs[f"layer-{layer:02}.patches"] = patches[i]
        if prefixes is not None:
            # The class token comes first; what may follow are registers.
            outputs[f"layer-{layer:02}.cls"] = prefixes[i][:, 0]
    return outputs


def _probe(
    loaded: Loaded,
    module: nn.Module,
    layers: tuple[int, ...],
    settings: VitSettings,
    device: torch.device,
) -> tuple[Stream, ...]:
    """The streams with their shapes, found by running one blank picture."""
    side = loaded.geometry.image_size
    pooled = "pooled" in settings.tokens
    with torch.inference_mode():
        outputs = _intermediates(
            module, torch.zeros(1, 3, side, side, device=device), layers, pooled
        )
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
                f"tokens: the output of {settings.model} isn't one vector a picture, so there is no "
                f"pooled; use cls or patches"
            )
        streams.append(Stream("pooled", outputs["pooled"].shape[-1], 1, "pooled", None))
    rows, columns = loaded.geometry.grid
    for stream in streams:
        if stream.kind == "patches" and stream.n_patches != rows * columns:
            raise UserError(
                f"{settings.model} gives {stream.n_patches} patches where {rows} × {columns} are "
                f"expected: towers that drop or merge patches can't be recorded"
            )
    return tuple(streams)
