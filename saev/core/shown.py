"""How an object looks in a notebook: a card of figures and images, as HTML on its own."""

import base64
import html
import io
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from PIL import Image

CARD = (
    "font:13px/1.5 system-ui,sans-serif;border:1px solid #8885;border-radius:6px;padding:8px 12px;"
)
CARD += "max-width:760px;display:inline-block"
SOFT = "opacity:.65"


class Tile(NamedTuple):
    """A row of images with what is said of them."""

    caption: str
    images: list[str]
    """Addresses, such as `png` and `jpeg` make them."""


def card(
    kind: str, title: str, figures: Mapping[str, object], tiles: Iterable[Tile] = (), note: str = ""
) -> str:
    """HTML of an object. All texts are escaped.

    Args:
        kind: what it is.
        title: which one.
        figures: its figures by name. `number` writes them; None and "" are left out.
        tiles: rows of images.
        note: text below, such as a path.
    """
    cells = "".join(
        f'<span style="display:inline-block;margin-right:18px"><span style="{SOFT}">'
        f"{html.escape(name)}</span> <b>{html.escape(number(value))}</b></span>"
        for name, value in figures.items()
        if value not in (None, "")
    )
    shown = "".join(
        f'<div style="display:inline-block;margin:6px 12px 0 0;vertical-align:top"><div '
        f'style="{SOFT}">{html.escape(tile.caption)}</div>{_images(tile.images)}</div>'
        for tile in tiles
    )
    below = f'<div style="{SOFT};overflow-wrap:anywhere">{html.escape(note)}</div>' if note else ""
    return (
        f'<div style="{CARD}"><div><span style="{SOFT}">{html.escape(kind)}</span> '
        f"<b>{html.escape(title)}</b></div><div>{cells}</div>{shown}{below}</div>"
    )


def line(kind: str, title: str, figures: Mapping[str, object], note: str = "") -> str:
    """The same in one line, without images."""
    told = ", ".join(
        f"{name} {number(value)}" for name, value in figures.items() if value not in (None, "")
    )
    return f"<{kind} {title}: {told}>" if not note else f"<{kind} {title}: {told}; {note}>"


def number(value: object) -> str:
    """A figure as people read it."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3g}" if math.isfinite(value) else "–"


def png(image: "Image.Image") -> str:
    """An image as an address that holds it."""
    data = io.BytesIO()
    image.save(data, "PNG")
    return _address("png", data.getvalue())


def jpeg(data: bytes) -> str:
    """The bytes of a JPEG file as an address that holds them."""
    return _address("jpeg", data)


def _address(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _images(addresses: list[str]) -> str:
    look = "height:64px;margin:2px 3px 0 0;image-rendering:pixelated;border-radius:2px"
    return "".join(f'<img alt="" style="{look}" src="{html.escape(a)}">' for a in addresses)
