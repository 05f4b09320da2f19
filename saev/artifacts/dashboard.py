"""Artifact of the `dashboard` stage: names of its files.

Pictures and data lie in folders of a few hundred files each; the page names them by row and by latent.
"""

STAGE = "dashboard"
FORMAT_VERSION = 1
PAGE, SUMMARY, RUN = "index.html", "summary.json", "run.json"
FIGURES = "data/latents.js"
BLOCK_LATENTS = 256
"""Latents in one block of data."""
HEAT_BYTES = 1 << 20
"""Bound on the heat maps in one script, before they are packed: what one latent costs to open."""
FOLDER = 256
"""Files, or folders, in one folder at most."""


def block(number: int) -> str:
    """Name of a block of data: latents ``[number * 256, (number + 1) * 256)``."""
    return f"data/blocks/{number:04}.js"


def heat_latents(n_values: int) -> int:
    """How many latents share one script of heat maps, at ``n_values`` patches of all top images each."""
    return max(1, min(BLOCK_LATENTS, HEAT_BYTES // n_values))


def heat(number: int) -> str:
    """Name of a script of heat maps: latents ``[number * heat_latents, (number + 1) * heat_latents)``."""
    return f"data/heat/{number // FOLDER:03}/{number:05}.js"


def picture(row: int) -> str:
    """Name of the thumbnail of a row."""
    return f"pictures/{row // FOLDER**2:03}/{row // FOLDER:05}/{row}.jpg"
