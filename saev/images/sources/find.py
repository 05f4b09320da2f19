"""Finds the files that a setting names: a file, a folder with its subfolders, or a pattern."""

import glob
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from saev.core.errors import UserError, listed, printable
from saev.images.sources.source import IGNORED, passed_over
from saev.images.sources.walk import BROKEN_LINK, CLOSED, Walk, extension_of, kind_of


class FoundFiles(NamedTuple):
    """Files that a setting names."""

    base: Path
    """The folder that contains them."""
    names: list[str]
    """Their names in it, sorted."""
    ignored: dict[str, int]
    """Number of what else a folder holds, by extension or kind."""


BRACES = ". Patterns have * and ?, and {a..b} stands for itself"


def find_files(key: str, pattern: str, suffix: str) -> FoundFiles:
    """Find files. A folder is searched for those that end in ``suffix``.

    Args:
        key: the setting, for messages.
        pattern: its value.
        suffix: extension of the files, in lower case.

    Raises:
        UserError: there are no such files, or some are broken links or in closed folders.
    """
    path, base = Path(pattern), Path()
    rest = list(path.parts)
    # What exists is taken as it is written, also if it looks like a pattern: data [2024]/*.tar
    while rest and ((base / rest[0]).exists() or not glob.has_magic(rest[0])):
        base /= rest.pop(0)
    ignored: Counter[str] = Counter()
    broken: list[str] = []
    closed: list[str] = []
    if rest:
        found = glob.glob("/".join(rest), root_dir=base, recursive=True)  # noqa: PTH207 (**)
        names = [name for name in found if (base / name).is_file()]
        broken = [str(base / name) for name in found if not (base / name).exists()]
    elif path.is_dir():
        walk = Walk(str(path), (suffix,))
        names = []
        for name, *_ in walk.files():
            if extension_of(name) == suffix:
                names.append(name)
            else:
                ignored[kind_of(extension_of(name))] += 1
        broken = [link for link in walk.broken if extension_of(link) == suffix]
        closed = walk.closed
        walk.passed_over[BROKEN_LINK] += len(walk.broken) - len(broken)
        ignored.update(+walk.passed_over)
    else:
        base, names = path.parent, [path.name] if path.is_file() else []
    for kind, paths in ((BROKEN_LINK, broken), (CLOSED, closed)):
        if paths:
            raise UserError(
                listed(sorted(map(printable, paths)), f"{key}: {pattern} holds {kind}:")
                + "\nFetch what they lead to, or remove them."
            )
    if not names:
        raise UserError(
            f"{key}: there is no file {pattern}{BRACES * ('{' in pattern)}"
            if not (path.is_dir() or rest)
            else f"{key}: there is no {suffix} file under {pattern}"
            + (f"; it holds {held}" if (held := passed_over({IGNORED: dict(ignored)})) else "")
        )
    odd = [ascii(name) for name in names if not name.isascii() and not _is_utf8(name)]
    if odd:
        raise UserError(listed(odd, f"{key}: names of files that aren't UTF-8; rename them:"))
    return FoundFiles(base, sorted(names), dict(ignored.most_common()))


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
