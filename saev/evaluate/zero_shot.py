"""Zero-shot accuracy: what a model with texts still tells if its tower sees reconstructions.

No probe is fitted: each class is the text tower's vector of its name, and an image belongs to the
class with the largest cosine (Radford et al. 2021, Learning transferable visual models from
natural language supervision, section 3.1). A name is put into each of the 80 sentences that they
published for ImageNet, such as "a bad photo of a yak."; its vector is the mean of the sentences'
unit vectors, brought to norm 1. A softmax of the cosines times the model's own scale gives
probabilities.

The tower runs as for "downstream kept", with the same baselines and the same figures.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from saev.activations.towers.text_tower import TextTower
from saev.core.errors import UserError
from saev.core.progress import Progress
from saev.evaluate.auroc import resampled
from saev.evaluate.classes import Classes
from saev.evaluate.downstream import Spliced, figures, note_of
from saev.evaluate.probing import RESAMPLES
from saev.evaluate.results import Results, missing

CLASSES_AT_ONCE = 16
"""Classes whose sentences are in memory at once."""


def sentences(name: str) -> list[str]:
    """The published sentences about a class. An underscore of its name is a space."""
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    said = name.replace("_", " ")
    return [template(said) for template in OPENAI_IMAGENET_TEMPLATES]


def class_vectors(texts: Callable[[Sequence[str]], Tensor], names: Sequence[str]) -> Tensor:
    """Unit vectors (C, e) float64 of classes.

    Args:
        texts: gives the unit vectors of texts.
    """
    progress = Progress(len(names), "classes", "reading their names")
    found = []
    for start in range(0, len(names), CLASSES_AT_ONCE):
        here = names[start : start + CLASSES_AT_ONCE]
        vectors = texts([sentence for name in here for sentence in sentences(name)])
        found.append(vectors.reshape(len(here), -1, vectors.shape[1]).mean(1))
        progress.update(len(here))
    return torch.nn.functional.normalize(torch.cat(found), dim=1)


def measure(
    text_tower: Callable[[], TextTower],
    spliced: Callable[[], Spliced],
    label: str,
    classes: Classes,
    seed: int,
) -> Results:
    """The figures.

    Args:
        text_tower: loads it; spliced: gives the tower's outputs.
        label: the label; classes: its classes.
        seed: of the resamples.

    Raises:
        UserError: texts and images have vectors of different widths.
    """
    if note := classes.lacking(label):
        return Results([missing("zero_shot", "accuracy", "images", note, label)])
    texts = text_tower()
    vectors, found = class_vectors(texts, classes.names), spliced()
    width = next(iter(found.outputs.values())).shape[1]
    if width != vectors.shape[1]:
        raise UserError(
            f"zero_shot: the tower gives {width} numbers for an image, and its text tower "
            f"{vectors.shape[1]} for a text, so they can't be compared: leave zero_shot out"
        )
    codes, losses, right = torch.from_numpy(found.codes), {}, {}
    for name, output in found.outputs.items():
        cosines = torch.nn.functional.normalize(output, dim=1) @ vectors.T
        logits = texts.logit_scale * cosines
        losses[name] = torch.nn.functional.cross_entropy(logits, codes, reduction="none").numpy()
        right[name] = (logits.argmax(1) == codes).numpy().astype(np.float64)
    drawn = resampled(len(codes), RESAMPLES, seed)
    note = note_of(found, classes)
    return Results(figures(losses, right, drawn, label, note, "zero_shot"))
