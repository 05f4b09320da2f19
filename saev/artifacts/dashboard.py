"""Artifact of the `dashboard` stage: names of its files.

Pictures and data lie in folders of a few hundred files each; the page names them by row and by latent.
"""

STAGE = "dashboard"
FORMAT_VERSION = 1
PAGE, SUMMARY, RUN = "index.html", "summary.json", "run.json"
FIGURES = "data/latents.js"
BLOCK_LATENTS = 256
"""Latents in one block of data."""
FOLDER_PICTURES = 256
"""Pictures in one folder at most."""


def block(number: int) -> str:
    """Name of a block of data: latents ``[number * 256, (number + 1) * 256)``."""
    return f"data/block-{number:04}.js"


def picture(row: int) -> str:
    """Name of the thumbnail of a row."""
    return f"pictures/{row // FOLDER_PICTURES:05}/{row}.jpg"
