"""Artifact of the `dashboard` stage: names of its files.

Thumbnails and data are in folders of a few hundred files each. The page finds thumbnails by row,
and data by latent. Blocks of data follow the order in which the page lists latents at first, so
a list reads few of them: the latent at the ``i``-th place of that order has the place ``i``.
"""

import os
from pathlib import Path

STAGE = FOLDER_NAME = "dashboard"
"""Name of the stage, and of the folder in an analysis' directory that it writes."""
FORMAT_VERSION = 6
PAGE, SUMMARY, RUN = "index.html", "summary.json", "run.json"
FIGURES, NAMES = "data/latents.js", "data/names.js"
STRONGEST = "data/strongest.js"
REPORT = "report"
"""Folder, beside the page of a run and that of all runs, with what Snakemake's report shows."""
REPORT_RUN, REPORT_SWEEPS = f"{REPORT}/run.html", f"{REPORT}/sweeps.html"
PARITY = "parity"
"""Folder beside the page of all runs with reports of `saev parity`, which it links."""
GIVEN = "given.js"
"""Names that people gave. They change without the page, so they lie beside its data."""
PROJECTION = "projection.js"
"""Places of latents by their directions, if the settings ask for that; beside the data as well."""
MATCHES = "matched"
MATCHED = f"{MATCHES}/pairs.js"
"""In the folder of results: which runs the job `match_runs` has matched."""
COSTS = "costs.js"
"""In the folder of results: what runs took. That is no result, so the page doesn't hold it."""
BESIDE_RUNS = (PARITY, REPORT, MATCHES)
"""Folders of results that hold no run."""
DATA_LATENTS = 64
"""Latents in one block of data. A list in another order reads a block for nearly each card, so they
are small."""
BLOCK = 256
"""Images, or directions, in one block of theirs."""
HEAT_BYTES = 1 << 20
"""Largest size of the heat maps in one script before packing. Opening a latent loads one script."""
CONTRAST_PAIRS = 1 << 16
"""Pairs of a latent and a label in one script of firing counts. To contrast two loads two."""
FOLDER = 256
"""Largest number of files, or of folders, in one folder."""
LARGE_IMAGES = 50_000
"""A page of more images has no large ones: these would take gigabytes."""


def block(number: int) -> str:
    """Name of a block of data: places ``[number * 64, (number + 1) * 64)``."""
    return f"data/blocks/{number // FOLDER:03}/{number:05}.js"


def image_block(number: int) -> str:
    """Name of a block of images: those at ``[number * 256, (number + 1) * 256)`` of the page's."""
    return f"data/images/{number // FOLDER:03}/{number:05}.js"


def contrast_index(label: int) -> str:
    """Name of the script that lists what the ``label``-th of the labels can be contrasted by."""
    return f"data/contrast/{label:02}/labels.js"


def contrast_labels(n_latents: int) -> int:
    """How many labels share a script of firing counts."""
    return max(1, CONTRAST_PAIRS // n_latents)


def contrast_block(label: int, number: int) -> str:
    """Name of a script of firing counts: labels ``[number * contrast_labels, …)`` of the index."""
    return f"data/contrast/{label:02}/{number // FOLDER:03}/{number:05}.js"


def directions(number: int) -> str:
    """Name of a block of directions: those of latents ``[number * 256, (number + 1) * 256)``."""
    return f"data/directions/{number:04}.js"


def matched(digest: str) -> str:
    """Name, in the folder of results, of the matched latents of two runs."""
    return f"{MATCHES}/{digest}.js"


def heat_latents(n_values: int) -> int:
    """How many latents share a script of heat maps.

    Each has ``n_values`` patches in its top images.
    """
    return max(1, min(BLOCK, HEAT_BYTES // n_values))


def heat(number: int) -> str:
    """Name of a script of heat maps: places
    ``[number * heat_latents, (number + 1) * heat_latents)``."""
    return f"data/heat/{number // FOLDER:03}/{number:05}.js"


def thumbnail(row: int, large: bool = False) -> str:
    """Name of the thumbnail of a row, or of the large image."""
    size = "large/" if large else ""
    return f"pictures/{size}{row // FOLDER**2:03}/{row // FOLDER:05}/{row}.jpg"


def link(out: Path, run: Path) -> str:
    """Link from the page of all runs in ``out`` to that of a run, whose analysis lies in ``run``.

    It is relative: it still works if all results are moved together.
    """
    folder = Path(os.path.relpath(run.resolve(), out.resolve()), FOLDER_NAME)
    return f"{folder.as_posix()}/{PAGE}"
