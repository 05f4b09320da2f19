"""Artifact of the `dashboard` stage: names of its files.

Thumbnails and data are in folders of a few hundred files each. The page finds thumbnails by row,
and data by latent.
"""

STAGE = FOLDER_NAME = "dashboard"
"""Name of the stage, and of the folder in an analysis' directory that it writes."""
FORMAT_VERSION = 3
PAGE, SUMMARY, RUN = "index.html", "summary.json", "run.json"
FIGURES, NAMES = "data/latents.js", "data/names.js"
STRONGEST = "data/strongest.js"
REPORT = "report"
"""Folder, beside the page of a run and that of all runs, with what Snakemake's report shows."""
REPORT_RUN, REPORT_SWEEPS = f"{REPORT}/run.html", f"{REPORT}/sweeps.html"
GIVEN = "given.js"
"""Names that people gave. They change without the page, so they lie beside its data."""
BLOCK_LATENTS = 256
"""Latents in one block of data."""
HEAT_BYTES = 1 << 20
"""Largest size of the heat maps in one script before packing. Opening a latent loads one script."""
FOLDER = 256
"""Largest number of folders, of scripts, or of images (two files each) in one folder."""
LARGE_IMAGES = 50_000
"""A page of more images has no large ones: these would take gigabytes."""


def block(number: int) -> str:
    """Name of a block of data: latents ``[number * 256, (number + 1) * 256)``."""
    return f"data/blocks/{number:04}.js"


def image_block(number: int) -> str:
    """Name of a block of images: those at ``[number * 256, (number + 1) * 256)`` of the page's."""
    return f"data/images/{number // FOLDER:03}/{number:05}.js"


def heat_latents(n_values: int) -> int:
    """How many latents share a script of heat maps.

    Each has ``n_values`` patches in its top images.
    """
    return max(1, min(BLOCK_LATENTS, HEAT_BYTES // n_values))


def heat(number: int) -> str:
    """Name of a script of heat maps: latents
    ``[number * heat_latents, (number + 1) * heat_latents)``."""
    return f"data/heat/{number // FOLDER:03}/{number:05}.js"


def thumbnail(row: int, large: bool = False) -> str:
    """Name of the thumbnail of a row, or of the large image."""
    size = "-large" if large else ""
    return f"pictures/{row // FOLDER**2:03}/{row // FOLDER:05}/{row}{size}.jpg"
