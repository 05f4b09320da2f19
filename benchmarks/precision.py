"""Compares a tower that multiplies in bfloat16 or TF32 with one in float32.

    python benchmarks/precision.py results/IMAGES/VIT/SAE --precision bfloat16 --images 256

Start it in the folder that holds results/. For the first images of a run, on one device, it prints
how far the activations of the dictionary's stream are from those of float32 (cosine, and relative
error of the vectors), what error the same dictionary makes on both, how many of the latents that
fire are the same, and the speed of both.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from saev.activations.loading import batches
from saev.activations.towers.tower import Tower, load_tower
from saev.api.explorer import Explorer
from saev.core.metrics import ReconstructionMetrics, nmse_about_shift
from saev.images.artifact import Images
from saev.settings.vit import VitSettings


def vectors(tower: Tower, inputs: list[torch.Tensor], name: str) -> tuple[torch.Tensor, float]:
    """Activations (n, d) of a stream, rounded to float16 as in a recording; images per second."""
    tower(inputs[0])
    found, start = [], time.perf_counter()
    for pixels in inputs:
        found.append(tower(pixels)[name].half().float().cpu().flatten(0, -2))
    return torch.cat(found), sum(map(len, inputs)) / (time.perf_counter() - start)


def main() -> None:
    """Measure what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="directory of a dictionary")
    parser.add_argument("--precision", default="bfloat16", choices=("bfloat16", "tf32"))
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    arguments = parser.parse_args()
    explorer = Explorer(arguments.folder, arguments.device)
    exact, sae = explorer.tower, explorer.sae
    recorded = json.loads((arguments.folder.parent / "meta.json").read_bytes())["settings"]
    recorded.pop("model_sha256", None)
    settings = VitSettings.model_validate_json(json.dumps(recorded))
    other = load_tower(settings.model_copy(update={"precision": arguments.precision}), exact.device)
    images = Images(arguments.folder.parent.parent)
    wanted = min(arguments.images, images.n_images)
    inputs = [
        torch.from_numpy(batch.pixels[: len(batch.present)][batch.present])
        for batch in batches(images, 0, wanted, exact.geometry, 2)
    ]
    (a, speed), (b, other_speed) = (
        vectors(tower, inputs, explorer.stream.name) for tower in (exact, other)
    )
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=1)
    error = (a - b).norm(dim=1) / a.norm(dim=1)
    print(f"{len(a):,} vectors of {explorer.stream.name}, {wanted} images, on {arguments.device}")
    print(f"cosine to float32: mean {cosine.mean():.6f}, smallest {cosine.min():.6f}")
    print(f"relative error: mean {error.mean():.5f}, largest {error.max():.5f}")
    normal = [sae.normalise(x.to(exact.device)).cpu().numpy() for x in (a, b)]
    centre, sets = normal[0].mean(axis=0), []
    for name, x, u in (("float32", a, normal[0]), (arguments.precision, b, normal[1])):
        figures = ReconstructionMetrics(centre)
        fired = np.zeros((len(x), sae.n_latents), bool)
        for start in range(0, len(x), 1024):
            here = slice(start, start + 1024)
            z = sae.encode(x[here].to(exact.device))
            made = sae.normalise(sae.decode(z)).cpu().numpy()
            fired[here] = (z != 0).cpu().numpy()
            none = np.zeros(len(made))
            figures.update(u[here], made, none, none)
        sets.append(fired)
        print(f"nmse of the dictionary on {name}: {nmse_about_shift(figures.sums):.5f}")
    both, either = (sets[0] & sets[1]).sum(), (sets[0] | sets[1]).sum()
    print(f"latents that fire: {both / either:.4f} of those on either fire on both")
    print(f"speed: {other_speed:.1f} images/s, {speed:.1f} in float32: {other_speed / speed:.2f} ×")


if __name__ == "__main__":
    main()
