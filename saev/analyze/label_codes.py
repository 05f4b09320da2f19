"""Encodes the labels of a part's images as numbers."""

from typing import NamedTuple

import numpy as np

from saev.analyze.inputs import Inputs
from saev.labels.artifact import PREFIX


class LabelCodes(NamedTuple):
    """One label of the images of a part, as numbers."""

    texts: list[str]
    """The distinct labels, sorted."""
    counts: list[int]
    """How many images have each."""
    codes: np.ndarray
    """(positions,) int64 index into ``texts``; -1 for an image without a label."""


def label_codes(inputs: Inputs, start: int, stop: int) -> dict[str, LabelCodes]:
    """Encode the labels of the images in ``[start, stop)`` that have activations, by label name."""
    table = inputs.labels.read(start, stop)
    present = (inputs.activations.rows(start, stop) - start).tolist()
    coded = {}
    for name in inputs.labels.names:
        texts = table.column(PREFIX + name).to_pylist()
        distinct = sorted({texts[i] for i in present} - {None})
        numbers = {text: number for number, text in enumerate(distinct)}
        codes = np.full(len(texts), -1, np.int64)
        codes[present] = [numbers.get(texts[i], -1) for i in present]
        counts = np.bincount(codes[codes >= 0], minlength=len(distinct))
        coded[name] = LabelCodes(distinct, counts.tolist(), codes)
    return coded
