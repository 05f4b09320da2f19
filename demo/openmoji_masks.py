"""Draws which part of an OpenMoji lies where: a mask whose pixel values are classes.

Groups of the drawing are parts: `hair`, `skin` with its shadow, and `line`. Everything else has the
class of its colour, of which OpenMoji has one palette. The paper is 0, which is no class.
"""

import io
import re
import xml.etree.ElementTree as ET

from PIL import Image

from demo.packages import import_extra

GROUPS = ("skin", "hair", "line")
"""Groups are called so, or start so, as `skin-shadow`."""
PALETTE = {
    "white": "ffffff",
    "light-grey": "d0cfce",
    "grey": "9b9b9a",
    "dark-grey": "3f3f3f",
    "yellow": "fcea2b",
    "dark-yellow": "f1b31c",
    "orange": "f4aa41",
    "dark-orange": "e27022",
    "red": "ea5a47",
    "dark-red": "d22f27",
    "maroon": "781e32",
    "pink": "ffa7c0",
    "dark-pink": "e67a94",
    "purple": "b399c8",
    "dark-purple": "8967aa",
    "blue": "92d3f5",
    "dark-blue": "61b2e4",
    "navy": "1e50a0",
    "green": "b1cc33",
    "dark-green": "5c9e31",
    "forest": "186648",
    "brown": "a57939",
    "dark-brown": "6a462f",
}
CLASSES = {name: value for value, name in enumerate((*GROUPS, *PALETTE), 1)}
"""Pixel values."""
BY_COLOUR = {colour: CLASSES[name] for name, colour in PALETTE.items()}
BY_COLOUR["000000"] = CLASSES["line"]


def draw_mask(svg: str, side: int) -> bytes:
    """Draw the mask of an SVG, ``side`` pixels wide and high, as bytes of a PNG with a palette."""
    ET.register_namespace("", "http://www.w3.org/2000/svg")
    root = ET.fromstring(svg)
    _recolour(root, "", "000000", "none")
    drawn = import_extra("resvg_py").svg_to_bytes(
        svg_string=ET.tostring(root, encoding="unicode"),
        width=side,
        height=side,
        background="#000000",
        skip_system_fonts=True,
        shape_rendering="crisp_edges",
    )
    mask = Image.open(io.BytesIO(bytes(drawn))).convert("L")
    shown = ["000000", "fcea2b", "a57939", "3f3f3f", *PALETTE.values()]
    mask.putpalette([int(colour[i : i + 2], 16) for colour in shown for i in (0, 2, 4)])
    out = io.BytesIO()
    mask.save(out, "PNG")
    return out.getvalue()


def _recolour(element: ET.Element, group: str, fill: str, stroke: str) -> None:
    """Give all that is painted the gray of its class.

    Args:
        group: which of `GROUPS` it lies in, if any; fill, stroke: what it inherits.
    """
    name = element.get("id", "")
    group = next((one for one in GROUPS if name.startswith(one)), group)
    fill, stroke = (_colour(element.get(k), old) for k, old in (("fill", fill), ("stroke", stroke)))
    for key in ("opacity", "fill-opacity", "stroke-opacity"):
        element.attrib.pop(key, None)
    for key, colour in (("fill", fill), ("stroke", stroke)):
        value = CLASSES[group] if group else BY_COLOUR.get(colour, 0)
        element.set(key, colour if colour == "none" else f"#{value:02x}{value:02x}{value:02x}")
    for child in element:
        _recolour(child, group, fill, stroke)


def _colour(given: str | None, inherited: str) -> str:
    """A colour as six hex digits, or `none`."""
    if given is None or given == "none":
        return given or inherited
    short = re.fullmatch("#([0-9a-fA-F])([0-9a-fA-F])([0-9a-fA-F])", given)
    whole = "".join(2 * digit for digit in short.groups()) if short else given.lstrip("#")
    return whole.lower()
