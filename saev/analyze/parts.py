"""The parts of an analysis on disk. Each is written by its own job and read by the merge."""

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save

from saev.activations.artifact import STAGE as ACTIVATIONS
from saev.analyze.accumulate import accumulate
from saev.analyze.artifact import PART, n_parts, part_folder, part_json
from saev.analyze.counts import Counter
from saev.analyze.inputs import Inputs
from saev.analyze.kept_codes import CodesWriter, remove_codes
from saev.analyze.kept_codes import identity as codes_identity
from saev.analyze.label_codes import label_codes
from saev.analyze.label_counts import label_prefix
from saev.analyze.totals import Totals
from saev.core.errors import UserError
from saev.core.files import (
    atomic_path,
    file_entry,
    read_json,
    sha256_file,
    write_bytes,
    write_json,
)
from saev.core.made import MADE, recorded
from saev.core.meta import require_unaltered
from saev.core.progress import Progress
from saev.settings.analysis import AnalysisSettings
from saev.train.artifact import STAGE as TRAIN

TOTALS = "totals.safetensors"
FORMAT = 3
"""Of the files of a part. Counted up when they hold more, or other things."""


def identity(inputs: Inputs, settings: AnalysisSettings) -> dict[str, Any]:
    """What a part depends on besides its number. Parts with another identity aren't merged."""
    return {
        "inputs": {stage: inputs.digests[stage] for stage in (TRAIN, ACTIVATIONS)},
        "labels_sha256": inputs.labels_sha256,
        "top_images": settings.top_images,
        "format": FORMAT,
    }


def write_part(
    inputs: Inputs,
    settings: AnalysisSettings,
    part: int,
    out: Path,
    scratch: Path,
    part_images: int = PART,
) -> None:
    """Look at the images of one part and write its files, `parts/NNNNN.json` last.

    Args:
        inputs: what to analyse; settings: the analysis' settings.
        part: number of the part.
        out: directory of the analysis.
        scratch: an empty folder that only this job uses.
        part_images: number of listed images in a part.

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
    remove_codes(out, part)
    labels = label_codes(inputs, start, stop)
    counters = {}
    for index, (name, coded) in enumerate(labels.items()):
        folder = scratch / label_prefix(index)
        folder.mkdir()
        counters[name] = Counter(folder, len(coded.texts), sums=True)
    progress = Progress(stop - start, "images", f"analysing part {part}")
    limit = settings.codes_gib * (1 << 30) * (stop - start) / n_images
    codes = CodesWriter(scratch, inputs.sae.n_latents, inputs.stream.n_patches, limit)
    totals = accumulate(
        inputs, settings.top_images, start, stop, labels, counters, codes, progress.update
    )
    codes.finish(out, part, codes_identity(inputs.digests, start, stop))
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


def check_parts(
    inputs: Inputs, settings: AnalysisSettings, n: int, out: Path, part_images: int = PART
) -> None:
    """Check that all parts exist, are unaltered, and were made from these inputs.

    Raises:
        UserError: a part isn't.
    """
    expected = n_parts(inputs.activations.n_images, part_images)
    if n != expected:
        raise UserError(
            f"--n-parts {n}: {inputs.activations.n_images:,} images have {expected} parts"
        )
    own = identity(inputs, settings)
    known = recorded(out, f".*[0-9]{MADE}")
    for part in range(n):
        content = read_json(out / part_json(part))
        if known.get(part_json(part)) not in (None, sha256_file(out / part_json(part))):
            raise UserError(
                f"{out / part_json(part)} was altered after it was written: remove it and run again"
            )
        found = {key: content.get(key) for key in own}
        if found != own or content["part"] != part:
            differing = [key for key in own if found[key] != own[key]] or ["part"]
            raise UserError(
                f"{out / part_json(part)} was made from other {' and '.join(differing)} than are "
                f"here now: remove it and run again"
            )
        require_unaltered(out, content["files"])


def read_totals(inputs: Inputs, n: int, out: Path) -> Totals:
    """Add up all parts in row order. Only one is in memory at a time."""
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
