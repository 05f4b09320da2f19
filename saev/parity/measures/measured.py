"""Compares two results of any stage."""

from collections.abc import Callable, Iterator

import numpy as np

from saev.core.files import canonical_json
from saev.parity.lab import Made
from saev.parity.measures import distances
from saev.parity.measures.of_activations import compare_activations
from saev.parity.measures.of_analyze import compare_analyze
from saev.parity.measures.of_dashboard import compare_dashboard
from saev.parity.measures.of_images import compare_images, compare_labels
from saev.parity.measures.of_train import compare_train
from saev.parity.verdict import Level, Verdict, worst
from saev.settings.parity import ParitySettings
from saev.train.artifact import STAGE as TRAIN

COMPARE: dict[str, Callable[[Made, Made, ParitySettings], Verdict]] = {
    "images": compare_images,
    "activations": compare_activations,
    "train": compare_train,
    "labels": compare_labels,
    "analyze": compare_analyze,
    "dashboard": compare_dashboard,
}
"""Measures of each stage. Others are compared file by file."""


def compare(a: Made, b: Made, settings: ParitySettings) -> Verdict:
    """How far the result ``b`` of a stage is from ``a``."""
    if a.folder == b.folder or a.digest == b.digest:
        return Verdict(Level.BIT_EQUAL)
    found = COMPARE.get(a.stage, compare_files)(a, b, settings)
    if a.stage == TRAIN and found.level > Level.BIT_EQUAL:
        return found  # which has looked at the figures, as far as training moves them
    return worst([found, *_described(a, b, settings.rounding)])


def _described(a: Made, b: Made, tolerance: float) -> Iterator[Verdict]:
    """Compare what two results say about themselves, but for digests and names."""
    for key in ("summary", "settings"):
        told = [made.unnamed(canonical_json(made.described.get(key))) for made in (a, b)]
        found = distances.texts(*told, tolerance=tolerance)
        yield Verdict(found.level, tuple(f"{key}: {text}" for text in found.texts))


def compare_files(a: Made, b: Made, settings: ParitySettings) -> Verdict:
    """Compare the files that two results describe, by what their endings say they hold."""
    entries = [{e["name"]: e.get("sha256") for e in made.described["files"]} for made in (a, b)]
    found = []
    for name in sorted({*entries[0], *entries[1]}):
        if entries[0].get(name, "") == entries[1].get(name, ""):
            continue
        if name not in entries[0] or name not in entries[1] or "*" in name:
            found.append(Verdict(Level.DIFFERENT, (f"{name} differs",)))
            continue
        one = _file(a, b, name, settings.rounding)
        found.append(Verdict(one.level, tuple(f"{name}: {text}" for text in one.texts)))
    return worst(found)


def _file(a: Made, b: Made, name: str, tolerance: float) -> Verdict:
    import pyarrow.parquet as pq
    from safetensors.numpy import load_file

    paths = [made.folder / name for made in (a, b)]
    if name.endswith(".parquet"):
        tables = [pq.read_table(path) for path in paths]
        return distances.tables(*tables, tolerance=tolerance, key=tables[0].column_names[0])
    if name.endswith(".safetensors"):
        return distances.arrays(*map(load_file, paths), tolerance=tolerance)
    if name.endswith(".npy"):
        old, new = (np.load(path, allow_pickle=False) for path in paths)
        return distances.arrays({"values": old}, {"values": new}, tolerance=tolerance)
    return distances.texts(*(path.read_text() for path in paths), tolerance=tolerance)
