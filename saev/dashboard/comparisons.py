"""The reports of `saev parity`, which the gallery links."""

from pathlib import Path
from typing import TypedDict
from urllib.parse import quote

from saev.core import logs
from saev.core.errors import UserError
from saev.core.files import read_json
from saev.dashboard.artifact import PAGE, PARITY

REPORTS = f"{PARITY}/*/report.json"
"""Where `saev parity` leaves its reports."""


class Comparison(TypedDict):
    """A report of `saev parity`."""

    link: str
    title: str
    """What was compared."""
    answer: str
    """One sentence. It may hold any text: names of files, messages of errors."""


def reports(out: Path) -> list[Comparison]:
    """The reports of `saev parity` under ``out``. Says which it can't read."""
    found: list[Comparison] = []
    for path in sorted(out.glob(REPORTS)):
        try:
            told = read_json(path)
            title, answer = f"{told['old']} → {told['new']}", str(told["answer"])
        except (UserError, KeyError, TypeError):
            logs.say(f"{path} isn't a report of saev parity, so the gallery doesn't link it")
            continue
        folder = quote(path.parent.relative_to(out).as_posix())
        found.append({"link": f"{folder}/{PAGE}", "title": title, "answer": answer})
    return found
