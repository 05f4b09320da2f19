"""Parts of an analysis on disk: written by one job each, read by the merge."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import load_file, save

from saev.analysis.accumulate import Totals, accumulate
from saev.analysis.codes import label_codes
from saev.analysis.counts import Counter, Run, open_run
from saev.analysis.inputs import Inputs
from saev.artifacts.analysis import PART, n_parts, part_folder, part_json
from saev.artifacts.meta import require_unaltered
from saev.errors import UserError
from saev.files import atomic_path, file_entry, read_json, write_bytes, write_json
from saev.progress import Progress

TOTALS = "totals.safetensors"


def label_prefix(index: int) -> str:
    """Start of the names of the files of the ``index``-th label, in the order of their names."""
    return f"label-{index:02}"


def identity(inputs: Inputs, settings: dict[str, Any]) -> dict[str, Any]:
    """What a part depends on beside its number; parts of another identity aren't merged."""
    return {
        "inputs": inputs.digests,
        "labels_sha256": inputs.labels_sha256,
        "top_images": settings.get("top_images", 16),
    }


def write_part(
    inputs: Inputs,
    settings: dict[str, Any],
    part: int,
    out: Path,
    scratch: Path,
    part_images: int = PART,
) -> None:
    """Look at the images of one part and write its files, `parts/NNNNN.json` last.

    Args:
        inputs: what to look at and with; settings: the analysis' settings.
        part: number of the part.
        out: directory of the analysis.
        scratch: an empty folder of this job's own.
        part_images: positions of the listing in a part.

    Raises:
        UserError: there is no such part, or activations were altered.
    """
    n_images = inputs.activations.n_images
    if not 0 <= part < n_parts(n_images, part_images):
        raise UserError(
            f"--part {part}: the {n_images:,} images have {n_parts(n_images, part_images)} parts, "
            f"counted from 0"
        )
    start, stop = part * part_images, min((part + 1) * part_images, n_images)
    labels = label_codes(inputs, start, stop)
    counters = {}
    for index, (name, coded) in enumerate(labels.items()):
        folder = scratch / label_prefix(index)
        folder.mkdir()
        counters[name] = Counter(folder, len(coded.texts))
    progress = Progress(stop - start, "images", f"analysing part {part}")
    k = settings.get("top_images", 16)
    totals = accumulate(inputs, k, start, stop, labels, counters, progress.update)
    folder = out / part_folder(part)
    write_bytes(folder / TOTALS, save(totals.arrays()))
    names = [TOTALS]
    for index, (name, coded) in enumerate(labels.items()):
        prefix = label_prefix(index)
        for file in counters[name].finish(scratch, prefix, inputs.sae.n_latents):
            with atomic_path(folder / file) as temporary:
                (scratch / file).replace(temporary)
            names.append(file)
        write_json(folder / f"{prefix}.json", {"labels": coded.texts, "counts": coded.counts})
        names.append(f"{prefix}.json")
    files = [file_entry(folder / name, f"{part_folder(part)}/{name}") for name in names]
    content = {"part": part, "start": start, "stop": stop, **identity(inputs, settings)}
    write_json(out / part_json(part), {**content, "files": files})


class Vocabulary(NamedTuple):
    """One label over all images."""

    texts: list[str]
    """The distinct labels, sorted: their index is their code."""
    counts: np.ndarray
    """(C,) int64: on how many images each is."""


def check_parts(
    inputs: Inputs, settings: dict[str, Any], n: int, out: Path, part_images: int = PART
) -> None:
    """Make sure that all parts are there, unaltered, and of these inputs.

    Raises:
        UserError: they aren't.
    """
    expected = n_parts(inputs.activations.n_images, part_images)
    if n != expected:
        raise UserError(
            f"--n-parts {n}: {inputs.activations.n_images:,} images have {expected} parts"
        )
    own = identity(inputs, settings)
    for part in range(n):
        content = read_json(out / part_json(part))
        found = {key: content.get(key) for key in own}
        if found != own or content["part"] != part:
            differing = [key for key in own if found[key] != own[key]] or ["part"]
            raise UserError(
                f"{out / part_json(part)} was made from other {' and '.join(differing)} than are here "
                f"now: remove it and run again"
            )
        require_unaltered(out, content["files"])


def read_totals(inputs: Inputs, n: int, out: Path) -> Totals:
    """Add up all parts in row order; one is in memory at a time."""
    names = tuple(inputs.splits(np.empty(0, np.int64)))
    totals: Totals | None = None
    for part in range(n):
        here = Totals.from_arrays(load_file(out / part_folder(part) / TOTALS), names)
        if totals is None:
            totals = here
        else:
            totals.add(here)
    assert totals is not None
    return totals


def read_labels(out: Path, n: int, index: int) -> tuple[Vocabulary, list[Run]]:
    """Read one label's counts of all parts: what labels there are, and the parts' runs, mapped."""
    prefix = label_prefix(index)
    found = [read_json(out / part_folder(part) / f"{prefix}.json") for part in range(n)]
    texts = sorted(set().union(*(f["labels"] for f in found)))
    numbers = {text: number for number, text in enumerate(texts)}
    counts = np.zeros(len(texts), np.int64)
    runs = []
    for part, here in enumerate(found):
        codes = np.array([numbers[text] for text in here["labels"]], np.int64)
        counts[codes] += np.array(here["counts"], np.int64)
        runs.append(open_run(out / part_folder(part), prefix, len(codes), codes))
    return Vocabulary(texts, counts), runs
