"""Shows what the statistics of activations say about a tower that runs in a wrong way.

    python benchmarks/wrong_tower.py results/IMAGES/VIT --images 64

Start it in the folder that holds results/. It runs the tower of a recording as it should be, with
the other activation function, with images normalised in other ways, and with random weights. For
each stream it prints γ (`saev/evaluate/gamma.py`), the mean norm, and the largest share of the
variance that one dimension has.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from saev.activations.loading import batches
from saev.activations.moments import Moments
from saev.activations.towers.tower import Tower, load_tower
from saev.evaluate.gamma import gamma
from saev.images.artifact import Images
from saev.settings.vit import VitSettings


class QuickGELU(nn.Module):
    """x · sigmoid(1.702 x), which OpenAI's CLIP was trained with."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply it."""
        return x * torch.sigmoid(1.702 * x)


def towers(settings: VitSettings) -> Iterator[tuple[str, Tower]]:
    """The right tower, and wrong ones, by what is wrong."""
    right = load_tower(settings)
    yield "as it should be", right
    other = load_tower(settings)
    module = other.backbone.module
    for name, part in [*module.named_modules()]:
        if type(part).__name__ in ("GELU", "QuickGELU"):
            wrong = QuickGELU() if isinstance(part, nn.GELU) else nn.GELU()
            module.set_submodule(name, wrong)
    yield "other activation function", other
    for what, mean, std in (
        ("mean and std 0.5", 0.5, 0.5),
        ("pixels from 0 to 1", 0.0, 1.0),
        ("pixels from 0 to 255", 0.0, 1 / 255),
    ):
        geometry = replace(right.geometry, mean=(mean,) * 3, std=(std,) * 3)
        yield what, replace(right, backbone=replace(right.backbone, geometry=geometry))
    random = settings.model_copy(
        update={"weights": "random", "weights_sha256": None, "like": None, "made": False}
    )
    yield "random weights", load_tower(random)


def main() -> None:
    """Print the statistics."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="directory of a recording")
    parser.add_argument("--images", type=int, default=64)
    arguments = parser.parse_args()
    recorded = json.loads((arguments.folder / "meta.json").read_bytes())["settings"]
    recorded.pop("model_sha256", None)
    settings = VitSettings.model_validate_json(json.dumps(recorded))
    images = Images(arguments.folder.parent)
    print(f"{'tower':<28}{'stream':<18}{'gamma':>8}{'norm':>9}{'top dimension':>15}")
    for what, tower in towers(settings):
        wanted = min(arguments.images, images.n_images)
        totals = {stream.name: Moments.empty(stream.d) for stream in tower.streams}
        for batch in batches(images, 0, wanted, tower.geometry, 2):
            pixels = torch.from_numpy(batch.pixels[: len(batch.present)][batch.present])
            for name, vectors in tower(pixels).items():
                moments = Moments.of(vectors.flatten(0, -2).cpu().numpy())
                totals[name] = totals[name].merged(moments)
        for name, moments in totals.items():
            std = moments.std()
            found, norm = gamma(moments.mean, std), moments.norms / moments.count
            top = (std**2).max() / (std**2).sum()
            print(f"{what:<28}{name:<18}{found:>8.2f}{norm:>9.2f}{top:>15.3f}")


if __name__ == "__main__":
    main()
