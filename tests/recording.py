"""What the tests of the recording share: a tiny tower, images, and the two commands."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from saev.activations import __main__ as activations
from saev.activations.artifact import Activations
from saev.images import __main__ as images

TINY = {
    "embed_dim": 16,
    "vision_cfg": {
        "image_size": 32,
        "layers": 2,
        "width": 32,
        "head_width": 16,
        "patch_size": 16,
    },
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
}
TOKENS = ["cls", "patches", "pooled"]


def write_config(folder: Path) -> str:
    """Write the tiny tower's configuration; return its path."""
    path = folder / "tiny.json"
    path.write_text(json.dumps(TINY))
    return str(path)


def write_clip(path: Path, seed: int, noise: float, scale: float) -> Any:
    """Make the CLIP of a configuration with weights that aren't those of open_clip's start.

    Args:
        path: the configuration; the weights are written beside it, to `weights.safetensors`.
        noise: standard deviation of what is added to all weights; scale: to the logarithm of the
            scale of cosines.
    """
    import open_clip
    import torch
    from safetensors.torch import save_file

    open_clip.add_model_config(path)
    torch.manual_seed(seed)
    model = open_clip.create_model(path.stem).eval()
    with torch.no_grad():
        model.logit_scale += scale
        for parameter in model.parameters():
            parameter += torch.randn_like(parameter) * noise
    save_file(model.state_dict(), path.with_name("weights.safetensors"))
    return model


def write_pictures(folder: Path, n: int, seed: int = 0, size: tuple[int, int] = (36, 33)) -> None:
    """Write ``n`` images, each of its own colour and noise, in two subfolders."""
    for i in range(n):
        path = folder / "ab"[i % 2] / f"{i:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng([seed, i])
        colour = rng.integers(0, 200, 3)
        noise = rng.integers(0, 55, (size[1], size[0], 3))
        Image.fromarray((colour + noise).astype(np.uint8)).save(path)


def settings(folder: Path, **more: object) -> dict:
    """Settings of a recording with random weights."""
    base = {"model": write_config(folder), "weights": "random", "layers": [0, -1]}
    return base | {"tokens": TOKENS, "shard_images": 256} | more


def list_images(pictures: Path, out: Path, **more: object) -> Path:
    """Run the `images` stage."""
    spec = json.dumps({"settings": {"folder": str(pictures), **more}})
    images.main(["--spec", spec, "--out", str(out), "--threads", "1"])
    return out


def arguments(listed: Path, out: Path, vit: dict, threads: int = 1) -> list[str]:
    """Arguments that both commands take."""
    spec = json.dumps({"settings": vit})
    return [
        *("--spec", spec, "--images", str(listed), "--out", str(out)),
        *("--threads", str(threads)),
    ]


def record(listed: Path, out: Path, vit: dict, shards: range, threads: int = 1) -> Activations:
    """Record shards, seal them, and open the result."""
    common = arguments(listed, out, vit, threads)
    for shard in shards:
        activations.main(["record", *common, "--shard", str(shard)])
    activations.main(["seal", *common])
    return Activations(out, verify="sha256")


def plan(path: Path, on_bad_image: dict[str, str], **compute: object) -> Path:
    """Write a plan with settings of the machine, and what to do with bad images by their directory.

    Its path goes into $SAEV_PLAN.
    """
    images = {name: {"loose": {"on_bad_image": what}} for name, what in on_bad_image.items()}
    path.write_text(json.dumps({"compute": compute, "components": {"images": images}}))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """Bytes of each file that isn't volatile."""
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != "run.json" and not {"runs", ".verified"} & set(p.parts)
    }


def spoil(pictures, rows):
    """Make the images of ``rows`` unreadable, each in another way."""
    from saev.images.sources.folder import list_folder

    keys = list_folder(pictures).keys
    whole = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 9, 3), np.uint8)).save(
        whole, "PNG"
    )
    ways = [b"", b"no picture", whole.getvalue()[:-40], b"\0" * 128 + b"DICM" + b"\0" * 40]
    for i, row in enumerate(rows):
        (pictures / keys[row]).write_bytes(ways[i % len(ways)])
