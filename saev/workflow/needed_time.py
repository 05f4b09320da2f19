"""How long a job takes at most, where that follows from the model and the data.

Estimates are careful: fast machines need a tenth of them or less. A job that asks for too little is
ended by its scheduler. A job that asks for too much waits longer for its turn.
"""

import math
from collections.abc import Mapping

from saev.analyze.artifact import PART
from saev.workflow import needed_memory
from saev.workflow.plan import Plan

THREAD = 2e10
"""Floating-point operations a second of a thread. Two threads were measured at 1.5e11 in a
recording and 1.2e11 in a training."""
GPU = {"float32": 5e12, "tf32": 2e13, "bfloat16": 5e13}
"""Of a GPU, by the precision of products. By arithmetic, an H100 has 4.5e13 in float32."""
DECODING = 10
"""Images a second that are read and decoded; a core was measured at 170 of 224 px."""
READING = 50_000
"""Vectors a second that a training or an analysis reads; measured from a disk: 490,000."""
ENCODING, TRAINING = 4, 12
"""Operations for each weight of the encoder and vector: two of a product, and those of decoding;
and the same with gradients, if all latents are active."""


def recording(plan: Plan, names: Mapping[str, str], threads: int, gpu: bool) -> int:
    """Minutes to record a shard; 0 if the tower's shape isn't known before it is loaded.

    Args:
        names: the directories of the images and the tower.
        threads: of the job; gpu: whether it has a GPU, too.
    """
    tower, settings = needed_memory.sizes(plan, names["vit"]), plan.settings("vit", names["vit"])
    if tower is None:
        return 0
    n = min(settings.shard_images, plan.component("images", names["images"])["n_images"])
    a_second = GPU[settings.precision] if gpu else THREAD * threads
    return _minutes(n / DECODING + n * tower.operations / a_second)


def training(plan: Plan, names: Mapping[str, str], threads: int, gpu: bool) -> int:
    """Minutes to train a dictionary; 0 if the width of its vectors isn't known. See `recording`."""
    settings = plan.settings("sae", names["sae"])
    epochs = getattr(settings, "epochs", 0)  # a dictionary from elsewhere has none
    n = plan.component("images", names["images"])["n_images"] * epochs
    a_second = GPU["bfloat16"] if gpu else THREAD * threads
    return _of_vectors(plan, names, n, TRAINING, a_second)


def analysis(plan: Plan, names: Mapping[str, str], threads: int, gpu: bool) -> int:
    """Minutes to analyse a part of the images; 0 if the width of vectors isn't known. See
    `recording`."""
    return _of_vectors(plan, names, PART, ENCODING, GPU["float32"] if gpu else THREAD * threads)


def _of_vectors(
    plan: Plan, names: Mapping[str, str], n_images: float, operations: int, a_second: float
) -> int:
    settings = plan.settings("sae", names["sae"])
    width = needed_memory.width(plan, names["vit"], settings.tokens == "pooled")
    tower = needed_memory.sizes(plan, names["vit"])
    if width is None or tower is None:
        return 0
    n = n_images * (tower.n_patches if settings.tokens == "patches" else 1)
    each = operations * plan.n_latents(names["sae"]) * width
    return _minutes(n / READING + n * each / a_second)


def _minutes(seconds: float) -> int:
    return math.ceil(seconds / 60)
