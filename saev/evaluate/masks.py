"""Masks: how well single latents of patches find what a mask shows.

For each latent and class the average precision (AP) of the latent's value for "the class covers
half of the patch or more", and its best intersection over union (IoU): see `mask_scores`. For each
class, the latent and the threshold are chosen on training images, and held-out images judge. The
run has

- ``map``: the mean over classes of the chosen latent's AP;
- ``best_iou``: the mean over classes of the IoU of the latent with the best one;
- ``coverage_30``: the share of classes whose latent has an AP of 0.3 or more;
- ``probe_r``: the mean over classes of R of the best probe of one latent, see `mask_probes`;
- ``purity_16``: the mean over latents of the share of the most common class among the patches on
  which the latent is largest, of its 16 top images.

Beside each: what `mask_baselines` makes of the same vectors, and a constant, whose AP and IoU are
the share of patches of the class, and whose R is 0.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from saev.analyze.baseline import Pca
from saev.analyze.inputs import Inputs
from saev.core.errors import UserError
from saev.core.progress import Progress
from saev.evaluate import mask_baselines
from saev.evaluate.classes import FEWEST, say_left_out, sides_of
from saev.evaluate.firing import look
from saev.evaluate.mask_counts import TOP, Chosen, MaskCounts, choose
from saev.evaluate.mask_scores import edge_of
from saev.evaluate.patch_classes import Masks
from saev.evaluate.results import Figure, Measured, Results, mean_of, missing
from saev.settings.evaluation import MaskSettings

COVERED = 0.3


class ByMask(NamedTuple):
    """What masks say of the latents."""

    results: Results
    table: dict[str, np.ndarray] | None
    """A row for each class; None if all classes are left out."""
    left_out: dict[str, int]
    """Classes with too few images, and how many they have."""


def finding(
    inputs: Inputs, settings: MaskSettings, seed: int, scratch: Path, workers: int
) -> MaskCounts:
    """What counts the latents of ``inputs.sae``, to be given to `look`.

    Args:
        seed: of the split where the training has none.
        scratch: an existing folder, in which one is made.
        workers: threads that decode masks.

    Raises:
        UserError: the images aren't those of the recording.
    """
    activations = inputs.activations
    images = activations.path.parent
    masks = Masks(settings, activations, images, workers)
    sides, _ = sides_of(inputs, np.arange(activations.n_images), seed)
    return MaskCounts(masks, sides, inputs.sae.n_latents, scratch / "masks-latents")


def measure(
    ours: MaskCounts,
    inputs: Inputs,
    pca: Pca,
    vectors: Tensor,
    l0: float,
    seed: int,
    scratch: Path,
) -> ByMask:
    """The figures.

    Args:
        ours: what the latents find, after the pass.
        inputs: the dictionary, and what it looks at.
        pca: principal components of the vectors trained on, in the dictionary's space.
        vectors: (m, d) float32, a sample of the same.
        l0: mean number of latents that fire on a vector.
        seed: of resamples and baselines.
        scratch: an existing folder, in which others are made.

    Raises:
        UserError: no image has a mask.
    """
    _require_some(ours)
    left_out = _left_out(ours)
    say_left_out("masks", left_out, len(ours.masks.names))
    kept = ours.kept()
    if not kept.any():
        why = f"no class has {FEWEST} images with a patch of it, and some on both sides"
        return ByMask(Results([missing("masks", "map", "classes", why)]), None, left_out)
    beside = mask_baselines.others(inputs.sae, pca, vectors, l0, seed)
    others = {}
    for name, sae in beside.saes.items():
        # The sides are ours: these dictionaries know nothing of the training's split.
        others[name] = MaskCounts(
            ours.masks, ours.judging, sae.n_latents, scratch / f"masks-{name}"
        )
        progress = Progress(inputs.activations.n_images, "images", f"evaluating {name}")
        look(inputs._replace(sae=sae), [others[name]], progress.update)
    chosen = choose(ours)
    note = "; ".join(part for part in (_note(inputs, ours, seed), beside.note) if part)
    made = results(ours, chosen, others, seed, note)
    return ByMask(made, table(ours, chosen), left_out)


def _note(inputs: Inputs, ours: MaskCounts, seed: int) -> str:
    _, note = sides_of(inputs, np.arange(inputs.activations.n_images), seed)
    n = ours.n_missing
    without = f"{n:,} images have no mask and are left out" if n else ""
    return "; ".join(part for part in (note, without) if part)


def results(
    ours: MaskCounts, chosen: Chosen, baselines: dict[str, MaskCounts], seed: int, note: str
) -> Results:
    """The figures, and the column ``mask_ap``.

    Args:
        ours: what the latents find; chosen: the best of them.
        baselines: what others find, by name.
        seed: of the resamples, of classes and of latents.
        note: what else to know.
    """
    kept = ours.kept()
    constant = ours.shares()[kept]
    theirs = {name: choose(one) for name, one in baselines.items()}
    ap = {name: one.ap[kept] for name, one in theirs.items()} | {"constant": constant}
    iou = {name: one.iou[kept] for name, one in theirs.items()} | {"constant": constant}
    r = {name: one.probe_r[kept] for name, one in theirs.items()}
    r["constant"] = np.zeros(len(constant))

    def over_classes(name: str, values: np.ndarray, others: dict[str, np.ndarray]) -> Figure:
        beside = {other: mean_of(one, seed) for other, one in others.items()}
        n = int(kept.sum())
        mean = mean_of(values, seed)
        return Figure("masks", name, mean, n, "classes", beside, split="held_out", note=note)

    covered = {name: _covered(one) for name, one in ap.items()}
    purity = ours.purity()
    pure: dict[str, Measured] = {
        name: mean_of(one.purity(), seed) for name, one in baselines.items()
    }
    n_full = int((~np.isnan(purity)).sum())
    few = f"nothing fires on {TOP} images with a mask"
    figures = [
        over_classes("map", chosen.ap[kept], ap),
        over_classes("best_iou", chosen.iou[kept], iou),
        over_classes("coverage_30", _covered(chosen.ap[kept]), covered),
        over_classes("probe_r", chosen.probe_r[kept], r),
        Figure("masks", f"purity_{TOP}", mean_of(purity, seed), n_full, "latents", pure, why=few),
    ]
    return Results(figures, {"mask_ap": chosen.by_latent})


def _covered(ap: np.ndarray) -> np.ndarray:
    return (ap >= COVERED).astype(np.float64)


def table(found: MaskCounts, chosen: Chosen) -> dict[str, np.ndarray]:
    """A row for each class that is kept: columns by name, as in ``masks.parquet``."""
    kept = found.kept()
    has = chosen.iou_latent[kept] >= 0
    return {
        "class": np.array(found.masks.names, object)[kept[1:]],
        "images": found.n_images.sum(0)[kept],
        "share": found.shares()[kept],
        "latent": chosen.latent[kept],
        "ap": chosen.ap[kept],
        "iou_latent": chosen.iou_latent[kept],
        "threshold": np.where(has, edge_of(chosen.threshold[kept]), np.nan),
        "iou": chosen.iou[kept],
        "probe_latent": chosen.probe_latent[kept],
        "probe_r": chosen.probe_r[kept],
    }


def _left_out(found: MaskCounts) -> dict[str, int]:
    """Classes with too few images, and how many they have."""
    kept, n_images = found.kept()[1:], found.n_images.sum(0)[1:]
    pairs = zip(found.masks.names, n_images.tolist(), kept, strict=True)
    return {name: n for name, n, enough in pairs if not enough}


def _require_some(found: MaskCounts) -> None:
    """Refuse masks of other images.

    Raises:
        UserError: no image has a mask.
    """
    if not found.n_images[:, 0].any():
        folder, example = found.masks.settings.folder, found.masks.example
        raise UserError(f"no image has a mask in {folder}: the first one would be {example}")
