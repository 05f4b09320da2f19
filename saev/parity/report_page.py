"""The report of parity as a page: the table, and the top images that changed, side by side."""

import base64
import html
import io
from typing import Any

import numpy as np

from saev.analyze.artifact import LATENTS
from saev.analyze.artifact import STAGE as ANALYZE
from saev.core.errors import UserError
from saev.images.artifact import Images
from saev.images.damage import BadImage
from saev.images.decode import open_rgb
from saev.parity import report
from saev.parity.lab import Made
from saev.parity.measures.of_analyze import top_lists
from saev.parity.mixes import Mixes
from saev.parity.verdict import Level

LATENTS_SHOWN, IMAGES_SHOWN, SIDE = 8, 8, 96
CLASSES = {
    Level.BIT_EQUAL: "same",
    Level.ROUNDING: "same",
    Level.NOISE: "noise",
    Level.DIFFERENT: "different",
    Level.UNKNOWN: "unknown",
}
STYLE = """
:root { color-scheme: light dark }
:root { --line: light-dark(#d5d5d5, #444); --soft: light-dark(#666, #aaa) }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto }
body { padding: 0 1rem }
h1 { font-size: 1.3rem } h2 { font-size: 1.05rem; margin-top: 2rem }
.answer { font-size: 1.15rem; font-weight: 600; overflow-wrap: anywhere }
.scroll { overflow-x: auto } table { border-collapse: collapse }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line) }
td { white-space: nowrap } .different { font-weight: 700 } .same { color: var(--soft) }
.legend, .note { color: var(--soft) } li { overflow-wrap: anywhere }
.pair { display: grid; grid-template-columns: 3rem 1fr; gap: .3rem; margin: .8rem 0 1.4rem }
.row { display: flex; flex-wrap: wrap; gap: 4px }
.row img { width: 96px; height: 96px; object-fit: contain; background: #8883 }
.row img.moved { outline: 3px solid light-dark(#b45309, #fbbf24); outline-offset: -3px }
"""


def page(mixes: Mixes, told: dict[str, str]) -> bytes:
    """The page, which needs no other file."""
    title = f"{told['old']} → {told['new']}"
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{_text(title)}</title>",
        f"<meta name=viewport content='width=device-width'><style>{STYLE}</style>",
        f"<h1>{_text(title)}</h1><p class=answer>{_text(report.answer(mixes))}</p>",
        f"<p>{_text(told['subject'])}</p>{_table(mixes)}",
        f"<p class=legend>{_text(report.LEGEND)}</p>",
    ]
    for stage, verdict in report.details(mixes):
        texts = "".join(f"<li>{_text(text)}</li>" for text in verdict.texts)
        parts.append(f"<h2>{stage}: {verdict.level.words}</h2><ul>{texts}</ul>")
        if stage == ANALYZE:
            parts.append(_grids(mixes))
    return "\n".join(parts).encode()


def _table(mixes: Mixes) -> str:
    heading, *lines = report.rows(mixes)
    rows = [f"<tr>{''.join(f'<th scope=col>{_text(cell)}</th>' for cell in heading)}</tr>"]
    for mix, line in zip(mixes.mixes, lines, strict=True):
        cells = [f"<th scope=row>{_text(line[0])}</th>"]
        for stage, cell in zip(mixes.stages, line[1:], strict=True):
            verdict = mix.verdicts.get(stage)
            kind = CLASSES[verdict.level] if verdict else ""
            tip = _text(verdict.text if verdict else mix.failed.get(stage, ""))
            cells.append(f"<td class='{kind}' title='{tip}'>{_text(cell)}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return f"<div class=scroll><table>{''.join(rows)}</table></div>"


def _grids(mixes: Mixes) -> str:
    """Top images of the latents that changed most, in the first mix that switched the analysis."""
    for i, mix in enumerate(mixes.mixes):
        if mix.switched == ANALYZE and ANALYZE in mix.made:
            beside = mixes.mixes[i - 1] if mix.kind == "walk" else mixes.mixes[0]
            if ANALYZE not in beside.made or "images" not in mix.made:
                continue
            try:
                return _pairs(
                    beside.made[ANALYZE], mix.made[ANALYZE], Images(mix.made["images"].folder)
                )
            except (UserError, OSError, BadImage) as error:
                return f"<p class=note>{_text(str(error))}</p>"
    return ""


def _pairs(a: Made, b: Made, images: Images) -> str:
    from safetensors.numpy import load_file

    old, new = (load_file(made.folder / LATENTS) for made in (a, b))
    if old["top_rows"].shape != new["top_rows"].shape:
        return ""
    changed, _ = top_lists(old["top_rows"], new["top_rows"])
    kept = (old["top_rows"][:, :, None] == new["top_rows"][:, None, :]).any(axis=2).sum(axis=1)
    order = np.lexsort((-old["fire_count"], kept))
    chosen = [int(j) for j in order if changed[j]][:LATENTS_SHOWN]
    shown = {j: [one["top_rows"][j][:IMAGES_SHOWN] for one in (old, new)] for j in chosen}
    needed = sorted({int(r) for pair in shown.values() for rows in pair for r in rows if r >= 0})
    pictures = {entry.row: _picture(images, entry) for entry in images.entries(needed)}
    found = []
    for j, (before, after) in shown.items():
        lines = []
        for name, rows, others in (("old", before, after), ("new", after, before)):
            row = "".join(_image(int(r), pictures[int(r)], r not in others) for r in rows if r >= 0)
            lines.append(f"<div>{name}</div><div class=row>{row}</div>")
        found.append(f"<h3>Latent {j}</h3><div class=pair>{''.join(lines)}</div>")
    return "<p class=note>Framed images are only in this row.</p>" + "".join(found)


def _image(row: int, source: str, moved: bool) -> str:
    frame = " class=moved" if moved else ""
    return f"<img{frame} src='{source}' alt='image {row}' title='image {row}'>"


def _picture(images: Images, entry: Any) -> str:
    settings = images.settings
    image = open_rgb(images.source.read(entry), settings.max_pixels, settings.gray_range)
    image.thumbnail((SIDE, SIDE))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"


def _text(text: str) -> str:
    return html.escape(text, quote=True)
