"""Compares pages: their data, their pictures, and apart from these the scripts that show them."""

from io import BytesIO
from pathlib import Path

import numpy as np

from saev.core.made import DONE, MADE
from saev.dashboard.artifact import RUN, STAGE, SUMMARY
from saev.parity.lab import Made
from saev.parity.measures.distances import texts
from saev.parity.verdict import Level, Verdict, worst
from saev.settings.parity import ParitySettings
from saev.workflow.stages import BY_NAME

DATA = "<script>start("
"""What precedes the data of a page, which is its last script."""
PICTURES = (".jpg", ".png", ".webp")
UNCOMPARED = (RUN, SUMMARY)
"""Files that describe others or the making."""
BESIDE = {
    name.split("/")[0]
    for rule in BY_NAME[STAGE].rules
    if rule.module
    for name in rule.outputs.values()
}
"""What other programs put beside a page, at any time."""


def compare_dashboard(a: Made, b: Made, settings: ParitySettings) -> Verdict:
    """Compare two pages file by file."""
    names = [_names(made.folder) for made in (a, b)]
    found = []
    if names[0] != names[1]:
        more, gone = names[1] - names[0], names[0] - names[1]
        said = [f"{len(more):,} files are new ({min(more)})"] if more else []
        said += [f"{len(gone):,} files are gone ({min(gone)})"] if gone else []
        found.append(Verdict(Level.DIFFERENT, tuple(said)))
    kinds: dict[str, list[Verdict]] = {}
    for name in sorted(names[0] & names[1]):
        old, new = ((made.folder / name).read_bytes() for made in (a, b))
        kind = _kind(name)
        verdict = Verdict(Level.BIT_EQUAL)
        if old != new:
            verdict = _COMPARE[kind](name, (a, old), (b, new), settings.rounding)
        kinds.setdefault(kind, []).append(verdict)
    for kind, verdicts in kinds.items():
        differing = [one for one in verdicts if one.level > Level.BIT_EQUAL]
        if differing:
            whole = worst(differing)
            text = f"{len(differing):,} of {len(verdicts):,} {kind} differ: {whole.text}"
            found.append(Verdict(whole.level, (text,)))
    return worst(found)


def _names(folder: Path) -> set[str]:
    paths = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    return {
        path.as_posix()
        for path in paths
        if path.name not in UNCOMPARED
        and path.suffix not in (DONE, MADE)
        and path.parts[0] not in BESIDE
    }


def _kind(name: str) -> str:
    if name.endswith(PICTURES):
        return "pictures"
    return "pages" if name.endswith(".html") else "files of data"


File = tuple[Made, bytes]
"""A file of a page, and the page."""


def _picture(name: str, a: File, b: File, tolerance: float) -> Verdict:
    from PIL import Image

    old, new = (
        np.asarray(Image.open(BytesIO(data)).convert("RGB"), np.float64) for _, data in (a, b)
    )
    if old.shape != new.shape:
        return Verdict(Level.DIFFERENT, (f"{name} has another size",))
    apart = float(np.abs(old - new).max())
    level = Level.ROUNDING if apart <= 2 else Level.DIFFERENT
    return Verdict(level, (f"{name} by up to {apart:.0f} of 255",))


def _text(file: File) -> str:
    made, data = file
    return made.unnamed(data.decode(errors="replace"))


def _data(name: str, a: File, b: File, tolerance: float) -> Verdict:
    found = texts(_text(a), _text(b), tolerance=tolerance)
    return Verdict(found.level, tuple(f"{name} ({text})" for text in found.texts))


def _page(name: str, a: File, b: File, tolerance: float) -> Verdict:
    (old, old_data), (new, new_data) = (_parted(_text(file)) for file in (a, b))
    found = texts(old_data, new_data, tolerance=tolerance)
    found = Verdict(found.level, tuple(f"{name} ({text})" for text in found.texts))
    if old == new:
        return found
    code = Verdict(Level.ROUNDING, (f"{name} in comments alone",))
    if _acting(old) != _acting(new):
        text = f"{name} has other scripts, whose effect only a browser shows: look at both pages"
        code = Verdict(Level.UNKNOWN, (text,))
    return worst([found, code])


def _parted(page: str) -> tuple[str, str]:
    """Scripts and styles of a page, and the data in it."""
    code, _, data = page.rpartition(DATA)
    return (code, data) if code else (page, "")


def _acting(page: str) -> list[str]:
    """The lines of a page that do something: no blank lines, and no lines of comments.

    What looks like a comment in a text of several lines (`` ` ``) is kept.
    """
    kept, comment, text = [], False, False
    for line in page.splitlines():
        bare = line.strip()
        comment = comment or (not text and bare.startswith("/*"))
        if comment:
            comment = "*/" not in bare
            if not comment and not bare.endswith("*/"):
                kept.append(bare)
        elif text or (bare and not bare.startswith("//")):
            kept.append(line if text else bare)
            text ^= line.count("`") % 2 == 1
    return kept


_COMPARE = {"pictures": _picture, "files of data": _data, "pages": _page}
