"""Compares pages: their data, their pictures, and apart from these the scripts that show them."""

from io import BytesIO
from pathlib import Path

import numpy as np

from saev.dashboard.artifact import RUN, SUMMARY
from saev.parity.lab import Made
from saev.parity.measures.distances import texts
from saev.parity.verdict import Level, Verdict, worst
from saev.settings.parity import ParitySettings

PICTURES = (".jpg", ".png", ".webp")
UNCOMPARED = (RUN, SUMMARY, ".build_dashboard")
"""Names, or their beginnings, of files that describe others or the making."""


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
            verdict = _COMPARE[kind](name, old, new, settings.rounding)
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
    return {p.as_posix() for p in paths if not p.name.startswith(UNCOMPARED)}


def _kind(name: str) -> str:
    if name.endswith(PICTURES):
        return "pictures"
    return "files of data" if name.startswith("data/") or name.endswith(".json") else "scripts"


def _picture(name: str, a: bytes, b: bytes, tolerance: float) -> Verdict:
    from PIL import Image

    old, new = (np.asarray(Image.open(BytesIO(data)).convert("RGB"), np.float64) for data in (a, b))
    if old.shape != new.shape:
        return Verdict(Level.DIFFERENT, (f"{name} has another size",))
    apart = float(np.abs(old - new).max())
    level = Level.ROUNDING if apart <= 2 else Level.DIFFERENT
    return Verdict(level, (f"{name} by up to {apart:.0f} of 255",))


def _data(name: str, a: bytes, b: bytes, tolerance: float) -> Verdict:
    found = texts(*(data.decode(errors="replace") for data in (a, b)), tolerance=tolerance)
    return Verdict(found.level, tuple(f"{name} ({text})" for text in found.texts))


def _script(name: str, a: bytes, b: bytes, tolerance: float) -> Verdict:
    return Verdict(
        Level.UNKNOWN, (f"{name}, whose effect only a browser shows: look at both pages",)
    )


_COMPARE = {"pictures": _picture, "files of data": _data, "scripts": _script}
