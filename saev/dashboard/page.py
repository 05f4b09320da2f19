"""Makes a page: one HTML file that contains its style sheets, its scripts and its data."""

from pathlib import Path

from saev.dashboard.scripts import embedded
from saev.dashboard.structures import About, Gallery

ASSETS = Path(__file__).parent / "assets"
SCRIPTS = {
    "run": (
        "common summary evaluation loading draws data columns state stars notes quiz_data "
        "notes_file filters images image_rows histogram latent_parts latent image card_images "
        "cards wall scales selection map_tools map map_pointer near sides contrast_data "
        "contrast_stars contrast_form contrast compare quiz views controls run"
    ),
    "gallery": (
        "common summary evaluation loading plots run_columns run_table matching run_matches "
        "run_pairs gallery"
    ),
}
"""Scripts of each page, in the order in which they run. They share one namespace."""
STYLES = {
    "run": "common controls cards views latent evaluation contrast quiz",
    "gallery": "common gallery evaluation matching",
}
"""Style sheets of each page. Of rules with equal specificity, the later one wins."""


def page(name: str, content: About | Gallery) -> bytes:
    """One HTML file from a template, its styles, its scripts and its data.

    It needs nothing else.
    """
    template = (ASSETS / f"{name}.html").read_text(encoding="utf-8")
    style, code = assets(STYLES[name], "css"), assets(SCRIPTS[name], "js")
    for slot, text in (("STYLE", style), ("SCRIPT", code), ("DATA", embedded(content))):
        template = template.replace(f"/*{slot}*/", text, 1)
    return template.encode()


def assets(names: str, kind: str) -> str:
    """Text of the style sheets (``css``) or scripts (``js``) called ``names``, one after the
    other."""
    files = [ASSETS / f"{name}.{kind}" for name in names.split()]
    return "\n".join(file.read_text(encoding="utf-8") for file in files)
